/* A relay that treats its sockets as programs do when things go wrong.
 *
 * POST /do/MODE?id=ID&up=U&down=D&keep=K with a body: checks that body, sends POST /out/ID/D with a body of U bytes to
 * $BACKEND in the way that MODE names, checks that the reply has D bytes, and answers with these. All bodies are one
 * pattern, so that any byte that is lost, doubled or changed shows; then the answer is 500 and says where.
 * `hold` opens U connections to port $CUT first, and keeps them. `reuse` lets a new thread send that has the id of the
 * one that has read the request, which is gone. `race` also sends POST /cut/ID/D to port $CUT, on connections that it
 * closes meanwhile.
 * $NONBLOCK=1: all sockets are non-blocking. $SIGNALS=restart|interrupt: each serving thread gets a signal every 300 us.
 * $PASS=1: no HTTP at all; see pass_on(). $WORKER=1: another process serves each connection; it gets the descriptor by SCM_RIGHTS. */
#include "streams.h"

#include "sending.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

static struct sockaddr_in backend;
static int storm, worker, passing;

static char *call(struct task *task, struct stream *out) {
    static __thread char head[32768];
    int least = 1;
    if (!strcmp(task->mode, "hold")) {
        if (hold(task->up) < 0) return "failed to open that many";
        task->up = 0;
    }
    if (out->fd < 0) {
        out->used = 0;
        if ((out->fd = dial(&backend)) < 0) return "failed to connect";
        if (!strcmp(task->mode, "sndbuf")) setsockopt(out->fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    }
    char *bytes = malloc((size_t)task->up + 512);
    int used = sprintf(bytes, "POST /out/%s/%ld HTTP/1.1\r\nHost: backend\r\nConnection: %s\r\nContent-Length: %ld\r\n\r\n",
                       task->id, task->down, task->keep ? "keep-alive" : "close", task->up);
    for (long at = 0; at < task->up; at++) bytes[used + at] = (char)pattern((size_t)at);
    int failed = send_request(task, &out->fd, bytes, (size_t)used + (size_t)task->up);
    char *wrong = failed ? "failed to send" : NULL;
    free(bytes);
    if (!wrong && !strcmp(task->mode, "half")) shutdown(out->fd, SHUT_WR);
    if (!wrong) wrong = read_head(out, head, sizeof head);
    if (!wrong) wrong = length_of(head) == task->down ? read_body(out, task->down) : "another length";
    if (wrong && !*wrong) wrong = "no reply";
    if (!wrong && !strcmp(task->mode, "half")) shutdown(out->fd, SHUT_RD);
    if (!wrong && !strcmp(task->mode, "linger")) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(out->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    if (!task->keep || wrong) {
        close(out->fd);
        out->fd = -1;
    }
    return wrong;
}

static int answer(struct stream *in, struct task *task, char *wrong) {
    long length = wrong ? (long)strlen(wrong) : task->down;
    char *answer = malloc((size_t)length + 256);
    int used = sprintf(answer, "HTTP/1.1 %s\r\nContent-Length: %ld\r\nX-Surprised: %ld\r\n\r\n",
                       wrong ? "500 Wrong" : "200 OK", length, atomic_load(&surprised));
    for (long at = 0; at < length; at++) answer[used + at] = wrong ? wrong[at] : (char)pattern((size_t)at);
    int failed = put_all(in->fd, answer, (size_t)used + (size_t)length);
    free(answer);
    return failed || wrong ? -1 : 0;
}

static void start(int fd);

/* What is left of a thread that is gone: its request, and its id. */
struct legacy {
    struct task task;
    struct stream *in;
    pid_t id;
    atomic_int taken;
};

static void *succeed(void *argument) {
    struct legacy *legacy = argument;
    if ((pid_t)syscall(SYS_gettid) != legacy->id) return NULL;
    struct stream *out = calloc(1, sizeof *out);
    out->fd = -1;
    answer(legacy->in, &legacy->task, call(&legacy->task, out));
    if (out->fd >= 0) close(out->fd);
    free(out);
    atomic_store(&legacy->taken, 1);
    return NULL;
}

/* Makes threads until one has the id of the one that is gone. */
static void *bequeath(void *argument) {
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    struct legacy *legacy = argument;
    pthread_mutex_lock(&one);
    while (syscall(SYS_tgkill, getpid(), legacy->id, 0) == 0) usleep(100);
    for (int try = 0; try < 1000 && !atomic_load(&legacy->taken); try++) {
        FILE *last = fopen("/proc/sys/kernel/ns_last_pid", "w");
        if (!last || fprintf(last, "%d", legacy->id - 1) < 0 || fclose(last) != 0) break;
        pthread_t thread;
        if (pthread_create(&thread, NULL, succeed, legacy) == 0) pthread_join(thread, NULL);
    }
    pthread_mutex_unlock(&one);
    if (atomic_load(&legacy->taken))
        start(legacy->in->fd);
    else {
        answer(legacy->in, &legacy->task, "the id was not given again");
        close(legacy->in->fd);
    }
    free(legacy->in);
    free(legacy);
    return NULL;
}

/* What reads first on a connection and has nothing to do with HTTP: passes all bytes on to $CUT, and back. If the
 * first are a request POST /body, only its body is passed on, once all of it is there. */
static void pass_on(struct stream *in) {
    static __thread char head[32768];
    char *end = NULL, *body = NULL;
    struct pollfd both[2] = {{.fd = in->fd, .events = POLLIN}, {.fd = dial(&cut), .events = POLLIN}};
    int open = 2;
    ssize_t got;
    if (both[1].fd < 0) return;
    while (in->used < 10 && (got = get(in->fd, in->buffer + in->used, sizeof in->buffer - in->used)) > 0) in->used += (size_t)got;
    if (in->used >= 10 && !memcmp(in->buffer, "POST /body", 10) && !(end = read_head(in, head, sizeof head))) {
        size_t length = (size_t)length_of(head), at = in->used;
        body = malloc(length + 1);
        memcpy(body, in->buffer, at);
        while (at < length && (got = get(in->fd, body + at, length - at)) > 0) at += (size_t)got;
        /* In one piece, or in three. */
        size_t piece = length % 2 ? length : length / 3 + 1;
        for (size_t sent = 0; sent < at; sent += piece)
            if (put_all(both[1].fd, body + sent, sent + piece < at ? piece : at - sent) < 0) break;
        free(body);
    } else if (put_all(both[1].fd, in->buffer, in->used) < 0) {
        open = 0;
    }
    while (open > 0 && poll(both, 2, 60000) > 0)
        for (int side = 0; side < 2; side++) {
            if (both[side].fd < 0 || !both[side].revents) continue;
            got = get(both[side].fd, head, sizeof head);
            int other = side ? in->fd : both[1].fd >= 0 ? both[1].fd : ~both[1].fd;
            if (got > 0 && put_all(other, head, (size_t)got) == 0) continue;
            shutdown(other, SHUT_WR);
            both[side].fd = ~both[side].fd;
            open = got < 0 ? 0 : open - 1;
        }
    close(both[1].fd >= 0 ? both[1].fd : ~both[1].fd);
}

static int serve_one(struct stream *in, struct stream *out) {
    static __thread char head[32768];
    struct task task = {.keep = 0};
    if (passing) {
        pass_on(in);
        return -1;
    }
    char *wrong = read_head(in, head, sizeof head);
    if (wrong && !*wrong) return -1;
    if (!wrong && sscanf(head, "POST /do/%31[a-z_]?id=%127[^&]&up=%ld&down=%ld&keep=%ld", task.mode, task.id, &task.up,
                         &task.down, &task.keep) != 5)
        wrong = "no task";
    if (!wrong) wrong = read_body(in, length_of(head));
    if (!wrong && !strcmp(task.mode, "reuse")) {
        struct legacy *legacy = calloc(1, sizeof *legacy);
        *legacy = (struct legacy){.task = task, .in = calloc(1, sizeof *in), .id = (pid_t)syscall(SYS_gettid)};
        legacy->in->fd = dup(in->fd);
        pthread_t thread;
        pthread_create(&thread, NULL, bequeath, legacy);
        pthread_detach(thread);
        return -1;
    }
    if (!wrong) wrong = call(&task, out);
    return answer(in, &task, wrong);
}

static void nothing(int number) { (void)number; }

static void *serve(void *argument) {
    struct stream *in = calloc(1, sizeof *in), *out = calloc(1, sizeof *out);
    timer_t timer;
    in->fd = (int)(intptr_t)argument;
    out->fd = -1;
    if (storm) {
        struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
        event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
        struct itimerspec often = {{0, 300000}, {0, 300000}};
        timer_create(CLOCK_MONOTONIC, &event, &timer);
        timer_settime(timer, 0, &often, NULL);
    }
    while (serve_one(in, out) == 0)
        ;
    if (storm) timer_delete(timer);
    if (out->fd >= 0) close(out->fd);
    close(in->fd);
    free(in);
    free(out);
    return NULL;
}

static void start(int fd) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 512 * 1024);
    prepare(fd);
    if (pthread_create(&thread, &small, serve, (void *)(intptr_t)fd) == 0)
        pthread_detach(thread);
    else
        close(fd);
}

int main(void) {
    const char *url = getenv("BACKEND"), *port = getenv("PORT"), *signals = getenv("SIGNALS");
    char host[64] = "";
    int backend_port = 0, on = 1, pair[2];
    if (!url || !port || sscanf(url, "http://%63[0-9.]:%d", host, &backend_port) != 2) return 2;
    non_blocking = getenv("NONBLOCK") != NULL;
    worker = getenv("WORKER") != NULL;
    passing = getenv("PASS") != NULL;
    backend = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)backend_port)};
    inet_pton(AF_INET, host, &backend.sin_addr);
    cut = backend;
    cut.sin_port = htons((uint16_t)atoi(getenv("CUT") ? getenv("CUT") : "9"));
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (signals) {
        storm = 1;
        struct sigaction action = {.sa_handler = nothing, .sa_flags = !strcmp(signals, "restart") ? SA_RESTART : 0};
        sigaction(SIGUSR1, &action, NULL);
    }
    if (worker) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return 4;
        if (fork() == 0) {
            close(pair[1]);
            for (int fd; (fd = take_over(pair[0])) >= 0;) start(fd);
            _exit(0);
        }
        close(pair[0]);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) return 3;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        if (worker) {
            hand_over(pair[1], fd);
            close(fd);
        } else {
            start(fd);
        }
    }
}
