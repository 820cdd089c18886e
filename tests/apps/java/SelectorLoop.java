import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

/**
 * An event loop on one thread, as Netty has them: GET /relay?id=ID calls $BACKEND/out/ID/1 when the
 * loop has waited once more, and answers with the length of the reply. While a request waits for
 * that, the loop calls $BACKEND/background/1 of its own.
 */
public final class SelectorLoop {
    private static final String BACKEND = System.getenv("BACKEND");

    public static void main(String[] arguments) throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))));
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        SocketChannel waiting = null;
        String id = null;
        while (true) {
            int ready = selector.select(waiting == null ? 0 : 5);
            if (ready == 0 && waiting != null) {
                String text = length("/out/" + id + "/1") + "\n";
                String head = "HTTP/1.1 200 OK\r\nContent-Length: " + text.length() + "\r\n\r\n";
                waiting.write(ByteBuffer.wrap((head + text).getBytes(StandardCharsets.UTF_8)));
                waiting = null;
            }
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel accepted = server.accept();
                    accepted.configureBlocking(false);
                    accepted.register(selector, SelectionKey.OP_READ);
                    continue;
                }
                SocketChannel channel = (SocketChannel) key.channel();
                ByteBuffer buffer = ByteBuffer.allocate(65536);
                if (channel.read(buffer) <= 0) {
                    channel.close();
                    continue;
                }
                String target = new String(buffer.array(), StandardCharsets.UTF_8).split(" ")[1];
                id = target.replaceAll(".*id=([^&]*).*", "$1");
                waiting = channel;
                length("/background/1"); // at once, before the loop waits again
            }
            selector.selectedKeys().clear();
        }
    }

    private static int length(String path) throws IOException {
        try (InputStream body = URI.create(BACKEND + path).toURL().openStream()) {
            return body.readAllBytes().length;
        }
    }
}
