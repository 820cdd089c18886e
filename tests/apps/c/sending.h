/* For faults.c: the ways in which its modes send a request. */
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

static struct sockaddr_in cut;

struct task {
    char mode[32], id[128];
    long up, down, keep;
};

/* Pages that are spliced arrive in the socket as they are, one piece each. */
static int splice_all(int fd, const char *bytes, size_t length) {
    int pipes[2], failed = 0;
    if (pipe(pipes) < 0) return -1;
    size_t pieces = 0, at = 0, waiting = 0;
    char *pages = aligned_alloc(4096, 24 * 4096);
    while (at < length && !failed) {
        /* The head in pieces of 7 bytes, each from a page of its own; then the rest. */
        size_t part = pieces < 24 ? 7 : length - at;
        if (part > length - at) part = length - at;
        if (pieces < 24) {
            char *page = pages + 4096 * pieces++;
            memcpy(page, bytes + at, part);
            struct iovec piece = {.iov_base = page, .iov_len = part};
            failed = vmsplice(pipes[1], &piece, 1, 0) != (ssize_t)part;
            waiting += part;
            /* The pipe has 16 places. */
            if (!failed && (pieces % 12 == 0 || at + part == length))
                for (size_t left = waiting; left > 0 && !failed; waiting = left) {
                    ssize_t moved = splice(pipes[0], NULL, fd, NULL, left, at + part < length ? SPLICE_F_MORE : 0);
                    if (moved < 0 && errno == EINTR) continue;
                    if (moved < 0 && errno == EAGAIN && ready(fd, POLLOUT) == 0) continue;
                    failed = moved <= 0;
                    left -= failed ? left : (size_t)moved;
                }
        } else {
            failed = put_all(fd, bytes + at, part) < 0;
        }
        at += part;
    }
    close(pipes[0]);
    close(pipes[1]);
    /* Pages in flight still show what is in them: they stay until the reply has come, and longer. */
    static __thread char *before;
    free(before);
    before = pages;
    return failed ? -1 : 0;
}

static int hand_over(int through, int fd) {
    char word = 'f', control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec piece = {.iov_base = &word, .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    ssize_t sent;
    while ((sent = sendmsg(through, &message, 0)) < 0 && errno == EINTR)
        ;
    return sent == 1 ? 0 : -1;
}

static int take_over(int through) {
    char word, control[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {.iov_base = &word, .iov_len = 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got;
    while ((got = recvmsg(through, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    int fd = -1;
    if (got == 1 && CMSG_FIRSTHDR(&message)) memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* A child process sends from `from` on; with `passed` it gets the socket by SCM_RIGHTS and has no copy of its own. */
static int send_by_child(int fd, const char *bytes, size_t from, size_t length, int passed) {
    int pair[2] = {-1, -1}, status = 0;
    if (put_all(fd, bytes, from) < 0 || (passed && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)) return -1;
    pid_t child = fork();
    if (child == 0) {
        if (passed) {
            close(fd);
            fd = take_over(pair[0]);
        }
        _exit(put_all(fd, bytes + from, length - from) < 0);
    }
    int failed = child < 0 || (passed && hand_over(pair[1], fd) < 0);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (passed) {
        close(pair[0]);
        close(pair[1]);
    }
    return failed || status ? -1 : 0;
}

struct part {
    int fd;
    const char *bytes;
    size_t length;
};

static void *send_part(void *argument) {
    struct part *part = argument;
    return (void *)(intptr_t)put_all(part->fd, part->bytes, part->length);
}

/* Another thread closes the socket, which is on its way elsewhere, or shuts it down, while this one writes to it. */
static void race(const char *bytes, size_t length, int how) {
    int fd = dial(&cut);
    if (fd < 0) return;
    /* What arrives is a beginning of this. */
    char *copy = malloc(length);
    memcpy(copy, bytes, length);
    char *path = memmem(copy, length, "/out/", 5);
    memcpy(path, "/cut/", 5);
    struct part part = {fd, copy, length};
    pthread_t writer;
    pthread_create(&writer, NULL, send_part, &part);
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    if (how == 1) usleep(50);
    if (how == 2) setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    shutdown(fd, how == 3 ? SHUT_RD : SHUT_RDWR);
    pthread_join(writer, NULL);
    close(fd);
    free(copy);
}

static int hold(long count) {
    for (long n = 0; n < count; n++)
        if (dial(&cut) < 0) return -1;
    return 0;
}

static int send_request(struct task *task, int *fd, const char *bytes, size_t length) {
    const char *mode = task->mode;
    if (!strcmp(mode, "splice")) return splice_all(*fd, bytes, length);
    if (!strcmp(mode, "by_child")) return send_by_child(*fd, bytes, length / 2, length, 0);
    if (!strcmp(mode, "by_other")) return send_by_child(*fd, bytes, 0, length, 1);
    if (!strcmp(mode, "fork")) {
        /* The child has the socket, too, and ends while this process writes. */
        pid_t child = fork();
        if (child == 0) _exit(0);
        int failed = put_all(*fd, bytes, length);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
        return failed;
    }
    if (!strcmp(mode, "dup")) {
        size_t half = length / 2;
        int copy = dup(*fd);
        if (put_all(*fd, bytes, half) < 0) return -1;
        close(*fd);
        *fd = copy;
        return put_all(copy, bytes + half, length - half);
    }
    if (!strcmp(mode, "race"))
        for (int how = 0; how < 4; how++) race(bytes, length, how);
    if (!strcmp(mode, "bytes")) {
        /* The head byte by byte. */
        size_t head = (size_t)((char *)memmem(bytes, length, "\r\n\r\n", 4) - bytes) + 4;
        for (size_t at = 0; at < head; at++)
            if (put_all(*fd, bytes + at, 1) < 0) return -1;
        return put_all(*fd, bytes + head, length - head);
    }
    return put_all(*fd, bytes, length);
}
