import jakarta.servlet.AsyncContext;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * TomcatRelay, but a request's thread goes back to the pool at once, and another of the pool goes on when
 * a timer says so: what Spring does for a DeferredResult. So a thread of the pool runs requests that it has
 * not read, while those that it has read wait for others.
 */
public final class TomcatAsyncRelay extends HttpServlet {
    private static final ScheduledExecutorService TIMER = Executors.newSingleThreadScheduledExecutor();
    private final TomcatRelay relay = new TomcatRelay();

    public static void main(String[] arguments) throws Exception {
        TomcatRelay.serve(new TomcatAsyncRelay());
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
        if (request.getAttribute("waited") != null) {
            relay.service(request, response);
            return;
        }
        request.setAttribute("waited", true);
        AsyncContext context = request.startAsync();
        TIMER.schedule(() -> context.dispatch(), 5, TimeUnit.MILLISECONDS);
    }
}
