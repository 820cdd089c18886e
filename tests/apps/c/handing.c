/* A relay with an event loop (epoll) that serves one connection at a time, and hands it to a thread where that is asked
 * for: GET /relay?id=ID&via=HANDLER calls $BACKEND/out/ID/1 and answers with nothing. Once a request with via=hand is
 * answered, a thread of its own reads the connection's next requests, and calls the backend on the same connection as the
 * loop has. */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

#include "streams.h"

static struct sockaddr_in backend;
static struct stream in, out;

static int call(const char *id) {
    char head[4096];
    int length = snprintf(head, sizeof head, "GET /out/%s/1 HTTP/1.1\r\nHost: backend\r\n\r\n", id);
    if (put_all(out.fd, head, (size_t)length) < 0 || read_head(&out, head, sizeof head)) return -1;
    long left = length_of(head) - (long)out.used;
    out.used = 0;
    while (left > 0) {
        ssize_t got = get(out.fd, out.buffer, (size_t)left);
        if (got <= 0) return -1;
        left -= got;
    }
    return 0;
}

/* Returns 1 if the connection is to be handed to a thread, -1 at its end. */
static int serve_one(void) {
    char head[4096], id[128] = "", answer[128];
    if (read_head(&in, head, sizeof head)) return -1;
    const char *at = strstr(head, "id=");
    if (at) sscanf(at + 3, "%127[^& ]", id);
    const char *status = call(id) < 0 ? "502 Bad Gateway" : "200 OK";
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status);
    if (put_all(in.fd, answer, (size_t)length) < 0) return -1;
    return strstr(head, "via=hand") ? 1 : 0;
}

static void *serve(void *nothing) {
    while (serve_one() >= 0)
        ;
    return nothing;
}

int main(void) {
    const char *url = getenv("BACKEND"), *port = getenv("PORT");
    char host[64] = "";
    int backend_port = 0, on = 1;
    if (!url || !port || sscanf(url, "http://%63[0-9.]:%d", host, &backend_port) != 2) return 2;
    backend = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)backend_port)};
    inet_pton(AF_INET, host, &backend.sin_addr);
    signal(SIGPIPE, SIG_IGN);
    non_blocking = 1;

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), loop = epoll_create1(EPOLL_CLOEXEC);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 256) < 0) return 3;
    for (;;) {
        in = (struct stream){.fd = accept(listener, NULL, NULL)};
        if (in.fd < 0) continue;
        prepare(in.fd);
        out = (struct stream){.fd = dial(&backend)};
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(loop, EPOLL_CTL_ADD, in.fd, &event);
        int said = 0;
        while (said == 0)
            if (epoll_wait(loop, &event, 1, -1) == 1) said = serve_one();
        epoll_ctl(loop, EPOLL_CTL_DEL, in.fd, &event);
        pthread_t thread;
        if (said > 0 && pthread_create(&thread, NULL, serve, NULL) == 0) pthread_join(thread, NULL);
        close(in.fd);
        close(out.fd);
    }
}
