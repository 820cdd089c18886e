# A relay on Rack and Net::HTTP, for Puma: a thread of its pool per request.
#
# GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
# length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file,
# resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in a
# new thread), thread (in a pool of threads that is started when it is first used), or after: answers
# at once with nothing, and then calls $BACKEND/after/ID/1 … K on the same thread.
# $BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL if that is set.
# $BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms.
require 'net/http'
require 'rack'
require 'socket'

BACKEND = URI(ENV.fetch('BACKEND'))
KEEP_ALIVE = ENV['BACKEND_KEEP_ALIVE'] == '1'
HANDLERS = %w[now sleep fan file resolve database task thread after].freeze

# Connections to the backend; the first ones are made when they are needed.
class Connections
  def initialize(size)
    @free = Queue.new
    size.times { @free << nil }
  end

  def use
    connection = @free.pop || Net::HTTP.start(BACKEND.host, BACKEND.port, nil, read_timeout: 60)
    yield connection
  ensure
    @free << connection
  end
end

# The one connection to Redis for all requests, opened by the first.
class Redis
  def initialize
    @mutex = Mutex.new
  end

  def echo(text)
    @mutex.synchronize do
      @socket ||= TCPSocket.new('127.0.0.1', ENV.fetch('REDIS_PORT'))
      @socket.write("*2\r\n$4\r\nECHO\r\n$#{text.bytesize}\r\n#{text}\r\n")
      answer = [@socket.gets, @socket.gets]
      raise "not the answer from Redis: #{answer}" unless answer == ["$#{text.bytesize}\r\n", "#{text}\r\n"]
    end
  end
end

# A pool that grows while work is handed to it, as those of concurrent-ruby do.
class Workers
  SIZE = 8

  def initialize
    @work = Queue.new
    @threads = []
    @mutex = Mutex.new
  end

  def run(&work)
    result = Queue.new
    @mutex.synchronize { @threads << Thread.new { loop { @work.pop.call } } if @threads.size < SIZE }
    @work << -> { result << value_of(work) }
    value = result.pop
    value.is_a?(StandardError) ? raise(value) : value
  end

  private

  def value_of(work)
    work.call
  rescue StandardError => error
    error
  end
end

CONNECTIONS = Connections.new(ENV.fetch('BACKEND_POOL', '256').to_i)
REDIS = Redis.new
WORKERS = Workers.new

# The Rack application.
class Relay
  TEXT = { 'Content-Type' => 'text/plain' }.freeze

  def call(env)
    env['rack.input'].read
    query = Rack::Utils.parse_query(env['QUERY_STRING'])
    id, via = query['id'], query.fetch('via', 'now')
    return [404, TEXT, ["no such thing\n"]] unless env['PATH_INFO'] == '/relay' && id && HANDLERS.include?(via)

    numbers = 1..query.fetch('n', '1').to_i
    if via == 'after'
      env['rack.after_reply'] << -> { forget(numbers.map { |k| "/after/#{id}/#{k}" }) }
      return [200, TEXT, []]
    end
    lengths = fetch(via, id, query['delay'].to_i, numbers.map { |k| "/out/#{id}/#{k}" })
    [200, TEXT, [lengths.map { |length| "#{length}\n" }.join]]
  rescue StandardError => error
    [502, TEXT, ["#{error.inspect}\n"]]
  end

  def background
    (1..).each do |n|
      sleep 0.05
      forget(["/background/#{n}"])
    end
  end

  private

  def fetch(via, id, delay, paths)
    case via
    when 'sleep' then sleep(delay / 1000.0)
    when 'file' then File.binread(__FILE__)
    when 'resolve' then Addrinfo.getaddrinfo('localhost', nil)
    when 'database' then REDIS.echo(id)
    when 'fan' then return paths.map { |path| Thread.new { length(path) } }.map(&:value)
    when 'task' then return Thread.new { in_order(paths) }.value
    when 'thread' then return WORKERS.run { in_order(paths) }
    end
    in_order(paths)
  end

  def in_order(paths)
    paths.map { |path| length(path) }
  end

  def length(path)
    return Net::HTTP.get_response(BACKEND + path).tap(&:value).body.length unless KEEP_ALIVE

    # `value` raises unless it was a success.
    CONNECTIONS.use { |connection| connection.get(path).tap(&:value).body.length }
  end

  def forget(paths)
    in_order(paths)
  rescue StandardError
    # nobody waits for these
  end
end
