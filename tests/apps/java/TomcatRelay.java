import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.File;
import java.io.IOException;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/**
 * Relay on embedded Tomcat: one thread waits in epoll for all connections, those of a pool read and
 * answer the requests. See there for the interface; what it does after the answer is not there.
 */
public final class TomcatRelay extends HttpServlet {
    public static void main(String[] arguments) throws Exception {
        serve(new TomcatRelay());
    }

    static void serve(HttpServlet servlet) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(System.getenv("BASE"));
        tomcat.setHostname("127.0.0.1");
        tomcat.setPort(Integer.parseInt(System.getenv("PORT")));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        // A kept connection ends after 100 requests otherwise.
        tomcat.getConnector().setProperty("maxKeepAliveRequests", "-1");
        Context context = tomcat.addContext("", new File(System.getenv("BASE")).getAbsolutePath());
        Tomcat.addServlet(context, "relay", servlet).setAsyncSupported(true);
        context.addServletMappingDecoded("/relay", "relay");
        tomcat.start();
        Relay.startTimer();
        tomcat.getServer().await();
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
        request.getInputStream().readAllBytes();
        String id = request.getParameter("id");
        int count = Integer.parseInt(of(request, "n", "1"));
        List<String> paths = IntStream.rangeClosed(1, count).mapToObj(k -> "/out/" + id + "/" + k).toList();
        response.setContentType("text/plain");
        try {
            long delay = Long.parseLong(of(request, "delay", "0"));
            for (int length : Relay.call(of(request, "via", "now"), id, delay, paths)) {
                response.getWriter().println(length);
            }
        } catch (Exception error) {
            response.setStatus(502);
            response.getWriter().println(error);
        }
    }

    private static String of(HttpServletRequest request, String name, String otherwise) {
        String value = request.getParameter(name);
        return value == null ? otherwise : value;
    }
}
