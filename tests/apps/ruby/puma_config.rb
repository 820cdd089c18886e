# How Puma runs puma_app.rb: one process, and a thread for each client of the tests.
require_relative 'puma_app'

bind "tcp://127.0.0.1:#{ENV.fetch('PORT')}?backlog=256"
threads 64, 64
quiet
relay = Relay.new
app relay
Thread.new { relay.background } if ENV['BACKGROUND'] == '1'
