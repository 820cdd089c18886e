import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * A relay on HttpServer with a pool of threads and HttpURLConnection, or with $CLIENT=HttpClient on
 * java.net.http; with $THREADS=virtual, since Java 21, each request has a virtual thread.
 *
 * <p>GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with
 * the length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel),
 * file, resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task
 * (in a new thread), thread (CompletableFuture.supplyAsync, in the common pool), or after: answers at
 * once with nothing, and then calls $BACKEND/after/ID/1 … K on the same thread. GET /fetch?path=PATH
 * answers with the body of $BACKEND/PATH.
 *
 * <p>$BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL idle ones if that is set.
 * HttpClient has as many as it needs, and keeps as many.
 * $BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms.
 */
public final class Relay {
    private static final String BACKEND = System.getenv("BACKEND");
    private static final boolean KEEP_ALIVE = "1".equals(System.getenv("BACKEND_KEEP_ALIVE"));
    private static final Set<String> HANDLERS =
        Set.of("now", "sleep", "fan", "file", "resolve", "database", "task", "thread", "after");
    private static final boolean VIRTUAL = "virtual".equals(System.getenv("THREADS"));
    private static final HttpClient CLIENT =
        "HttpClient".equals(System.getenv("CLIENT"))
            ? HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build()
            : null;
    // The common pool has a thread per core at most: too few for calls that wait.
    private static final ExecutorService FAN = VIRTUAL ? virtualThreads() : Executors.newCachedThreadPool();
    private static final Redis REDIS = new Redis();

    public static void main(String[] arguments) throws IOException {
        if (System.getenv("BACKEND_POOL") != null) {
            System.setProperty("http.maxConnections", System.getenv("BACKEND_POOL"));
        }
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 256);
        server.setExecutor(VIRTUAL ? virtualThreads() : Executors.newFixedThreadPool(64));
        server.createContext("/relay", Relay::relay);
        server.createContext("/fetch", exchange -> {
            exchange.getRequestBody().readAllBytes();
            answer(exchange, 200, fetch(query(exchange).get("path")));
        });
        server.start();
        startTimer();
    }

    static void startTimer() {
        if ("1".equals(System.getenv("BACKGROUND"))) {
            AtomicInteger n = new AtomicInteger();
            Runnable call = () -> forget(List.of("/background/" + n.incrementAndGet()));
            Runnable tick = VIRTUAL ? () -> FAN.execute(call) : call;
            Executors.newSingleThreadScheduledExecutor().scheduleAtFixedRate(tick, 50, 50, TimeUnit.MILLISECONDS);
        }
    }

    /** By name, so that this compiles with Java 17, which Debian 12 has. */
    private static ExecutorService virtualThreads() {
        try {
            return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException("virtual threads need Java 21", error);
        }
    }

    private static void relay(HttpExchange exchange) throws IOException {
        exchange.getRequestBody().readAllBytes();
        Map<String, String> query = query(exchange);
        String id = query.get("id");
        String via = query.getOrDefault("via", "now");
        if (!exchange.getRequestURI().getPath().equals("/relay") || id == null || !HANDLERS.contains(via)) {
            answer(exchange, 404, "no such thing\n");
            return;
        }
        String kind = via.equals("after") ? "after" : "out";
        int count = Integer.parseInt(query.getOrDefault("n", "1"));
        List<String> paths = IntStream.rangeClosed(1, count).mapToObj(k -> "/" + kind + "/" + id + "/" + k).toList();
        if (via.equals("after")) {
            answer(exchange, 200, "");
            forget(paths);
            return;
        }
        int status = 200;
        String text;
        try {
            List<Integer> lengths = call(via, id, Long.parseLong(query.getOrDefault("delay", "0")), paths);
            text = lengths.stream().map(length -> length + "\n").collect(Collectors.joining());
        } catch (Exception error) {
            status = 502;
            text = error + "\n";
        }
        answer(exchange, status, text);
    }

    static List<Integer> call(String via, String id, long delay, List<String> paths) throws Exception {
        switch (via) {
            case "sleep" -> Thread.sleep(delay);
            case "file" -> Files.readAllBytes(Path.of("/etc/hosts"));
            case "resolve" -> InetAddress.getByName("localhost");
            case "database" -> REDIS.echo(id);
            case "fan" -> {
                List<CompletableFuture<Integer>> lengths = paths.stream().map(Relay::soon).toList();
                return lengths.stream().map(CompletableFuture::join).toList();
            }
            case "thread" -> {
                return CompletableFuture.supplyAsync(() -> inOrder(paths)).get();
            }
            case "task" -> {
                if (VIRTUAL) {
                    return FAN.submit(() -> inOrder(paths)).get();
                }
                FutureTask<List<Integer>> task = new FutureTask<>(() -> inOrder(paths));
                new Thread(task).start();
                return task.get();
            }
        }
        return inOrder(paths);
    }

    private static List<Integer> inOrder(List<String> paths) {
        return paths.stream().map(Relay::length).toList();
    }

    private static void forget(List<String> paths) {
        try {
            inOrder(paths);
        } catch (UncheckedIOException error) {
            // nobody waits for these
        }
    }

    private static int length(String path) {
        try {
            return fetch(path).length;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static CompletableFuture<Integer> soon(String path) {
        if (CLIENT == null) {
            return CompletableFuture.supplyAsync(() -> length(path), FAN);
        }
        return CLIENT.sendAsync(request(path), BodyHandlers.ofByteArray()).thenApply(answer -> answer.body().length);
    }

    private static HttpRequest request(String path) {
        return HttpRequest.newBuilder(URI.create(BACKEND + path)).timeout(Duration.ofMinutes(1)).build();
    }

    private static byte[] fetch(String path) throws IOException {
        if (CLIENT != null) {
            try {
                return CLIENT.send(request(path), BodyHandlers.ofByteArray()).body();
            } catch (InterruptedException error) {
                throw new IOException(error);
            }
        }
        HttpURLConnection connection = (HttpURLConnection) URI.create(BACKEND + path).toURL().openConnection();
        connection.setReadTimeout(60_000);
        if (!KEEP_ALIVE) {
            connection.setRequestProperty("Connection", "close");
        }
        try (InputStream body = connection.getInputStream()) {
            return body.readAllBytes();
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", "text/plain");
        answer(exchange, status, text.getBytes(StandardCharsets.UTF_8));
    }

    private static void answer(HttpExchange exchange, int status, byte[] body) throws IOException {
        exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
        try (OutputStream out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    private static Map<String, String> query(HttpExchange exchange) {
        Map<String, String> query = new HashMap<>();
        String text = exchange.getRequestURI().getQuery();
        for (String pair : text == null ? new String[0] : text.split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(parts[0], parts.length > 1 ? parts[1] : "");
        }
        return query;
    }

    /** The one connection to Redis for all requests, opened by the first. */
    private static final class Redis {
        private Socket socket;
        private BufferedReader reader;

        synchronized void echo(String text) throws IOException {
            try {
                if (socket == null) {
                    socket = new Socket("127.0.0.1", Integer.parseInt(System.getenv("REDIS_PORT")));
                    reader = new BufferedReader(new InputStreamReader(socket.getInputStream()));
                }
                String command = "*2\r\n$4\r\nECHO\r\n$" + text.length() + "\r\n" + text + "\r\n";
                socket.getOutputStream().write(command.getBytes(StandardCharsets.UTF_8));
                if (!("$" + text.length()).equals(reader.readLine()) || !text.equals(reader.readLine())) {
                    throw new IOException("not the answer from Redis");
                }
            } catch (IOException error) {
                socket = null; // the next request opens it again
                throw error;
            }
        }
    }
}
