import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;

/**
 * One hop of the demo. Usage: java Service.java NAME PORT [NEXT_PORT]
 *
 * <p>Answers with the headers that it received and, where there is a next hop, with that hop's answer. It copies no
 * header. A pool of threads serves the requests.
 */
public class Service {
    private static String name;
    private static String nextPort;

    public static void main(String[] arguments) throws IOException {
        name = arguments[0];
        nextPort = arguments.length > 2 ? arguments[2] : null;
        InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1]));
        HttpServer server = HttpServer.create(address, 64);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", Service::answer);
        server.start();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        List<String> received = new ArrayList<>();
        exchange.getRequestHeaders().forEach(
                (header, values) -> values.forEach(value -> received.add(quoted(header + ": " + value))));
        String next = nextPort == null ? "null" : askNextHop(exchange.getRequestURI().getPath());
        String json = String.format("{\"service\": %s, \"received\": [%s], \"next\": %s}",
                quoted(name), String.join(", ", received), next);
        byte[] body = json.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(200, body.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    private static String askNextHop(String path) throws IOException {
        URI next = URI.create("http://127.0.0.1:" + nextPort + path);
        HttpURLConnection connection = (HttpURLConnection) next.toURL().openConnection();
        connection.setReadTimeout(10_000);
        try (InputStream in = connection.getInputStream()) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }
}
