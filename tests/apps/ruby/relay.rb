# A relay on WEBrick and Net::HTTP: /relay?id=ID&n=K calls $BACKEND/out/ID/1 … K
# and answers with the length of each reply, one a line.
require 'net/http'
require 'webrick'

BACKEND = URI(ENV.fetch('BACKEND'))

# One servlet object serves one request.
class Relay < WEBrick::HTTPServlet::AbstractServlet
  def do_GET(request, response)
    request.body
    Net::HTTP.start(BACKEND.host, BACKEND.port, nil) do |http|
      lengths = (1..request.query.fetch('n', '1').to_i).map do |k|
        http.get("/out/#{request.query['id']}/#{k}").body.length
      end
      response.body = lengths.map { |length| "#{length}\n" }.join
    end
    response.content_type = 'text/plain'
  end

  # The body of a POST is no form here: the query is in the URL.
  def do_POST(request, response)
    request.instance_variable_set(:@query, WEBrick::HTTPUtils.parse_query(request.query_string))
    do_GET(request, response)
  end
end

server = WEBrick::HTTPServer.new(
  BindAddress: '127.0.0.1', Port: ENV.fetch('PORT').to_i, MaxClients: 256, DoNotReverseLookup: true,
  # Head and body go in two writes: without this Nagle and delayed acknowledgements cost 40 ms a response.
  AcceptCallback: ->(socket) { socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1) },
  Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN), AccessLog: []
)
server.mount('/relay', Relay)
trap('TERM') { server.shutdown }
server.start
