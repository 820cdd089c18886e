# How Puma runs puma_app.rb: one process, and $THREADS threads, by default one for each client of the tests.
require_relative 'puma_app'

bind "tcp://127.0.0.1:#{ENV.fetch('PORT')}?backlog=256"
count = ENV.fetch('THREADS', '64').to_i
threads count, count
quiet
relay = Relay.new
app relay
Thread.new { relay.background } if ENV['BACKGROUND'] == '1'
