// The benchmark's relay on the JDK's own HTTP server and client, with a pool of threads.
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URL;
import java.util.concurrent.Executors;

public class Relay {
    public static void main(String[] arguments) throws IOException {
        // Else the server sends head and body in two packets and waits for the acknowledgement of the first.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("http.maxConnections", "64");
        URL backend = new URL(System.getenv("BACKEND") + "/relay");
        String forward = System.getenv("FORWARD");
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.createContext("/relay", exchange -> {
            HttpURLConnection call = (HttpURLConnection) backend.openConnection();
            String value = forward == null ? null : exchange.getRequestHeaders().getFirst(forward);
            if (value != null) {
                call.setRequestProperty(forward, value);
            }
            byte[] body = call.getInputStream().readAllBytes();
            exchange.getResponseHeaders().set("Content-Type", "text/plain");
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
