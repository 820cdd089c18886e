import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;

/**
 * A relay on HttpServer with a pool of threads and HttpURLConnection.
 *
 * <p>GET or POST /relay?id=ID&n=K calls $BACKEND/out/ID/1 … K and answers with the length of each
 * reply, one a line. GET /fetch?path=PATH answers with the body of $BACKEND/PATH.
 */
public final class Relay {
    private static final String BACKEND = System.getenv("BACKEND");

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 256);
        server.setExecutor(Executors.newFixedThreadPool(64));
        server.createContext("/relay", Relay::relay);
        server.createContext("/fetch", exchange -> {
            exchange.getRequestBody().readAllBytes();
            answer(exchange, fetch(query(exchange).get("path")));
        });
        server.start();
    }

    private static void relay(HttpExchange exchange) throws IOException {
        exchange.getRequestBody().readAllBytes();
        Map<String, String> query = query(exchange);
        StringBuilder lengths = new StringBuilder();
        for (int k = 1; k <= Integer.parseInt(query.getOrDefault("n", "1")); k++) {
            lengths.append(fetch("/out/" + query.get("id") + "/" + k).length).append('\n');
        }
        answer(exchange, lengths.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static byte[] fetch(String path) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) URI.create(BACKEND + path).toURL().openConnection();
        connection.setReadTimeout(60_000);
        try (InputStream body = connection.getInputStream()) {
            return body.readAllBytes();
        }
    }

    private static void answer(HttpExchange exchange, byte[] body) throws IOException {
        exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    private static Map<String, String> query(HttpExchange exchange) {
        Map<String, String> query = new HashMap<>();
        for (String pair : exchange.getRequestURI().getQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(parts[0], parts[1]);
        }
        return query;
    }
}
