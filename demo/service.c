/*
 * One hop of the demo. Usage: service NAME PORT [NEXT_PORT]
 *
 * Answers with the headers that it received and, where there is a next hop, with that hop's answer. It copies no
 * header. One thread per connection, one request per connection, blocking sockets.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 16384, BODY = 65536 };

static const char *name;
static int next_port;

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int send_all(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = write(fd, bytes, length);
		if (sent <= 0)
			return -1;
		bytes += sent;
		length -= (size_t)sent;
	}
	return 0;
}

/* Reads until the head is complete (or, without `head`, until the peer closes) and ends the text with a zero. */
static int receive(int fd, char *buffer, size_t size, int head)
{
	size_t length = 0;
	for (;;) {
		ssize_t got = read(fd, buffer + length, size - 1 - length);
		if (got < 0 || (got == 0 && head))
			return -1;
		length += (size_t)got;
		buffer[length] = '\0';
		if (got == 0 || (head && strstr(buffer, "\r\n\r\n")))
			return 0;
		if (length == size - 1)
			return -1;
	}
}

/* Asks the next hop for `path` and writes its answer's body to `json`. */
static void ask_next_hop(const char *path, char *json, size_t size)
{
	static const char refused[] = "null";
	char request[2048], *response = malloc(BODY), *body;
	struct sockaddr_in address = loopback(next_port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	snprintf(json, size, "%s", refused);
	snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n", path,
		 next_port);
	if (response && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
	    send_all(fd, request, strlen(request)) == 0 && receive(fd, response, BODY, 0) == 0 &&
	    (body = strstr(response, "\r\n\r\n")))
		snprintf(json, size, "%s", body + 4);
	close(fd);
	free(response);
}

/* Turns the header lines of a head into a JSON list. */
static void list_headers(char *head, char *json, size_t size)
{
	size_t used = 0;
	char *rest = NULL, *line = strtok_r(head, "\r\n", &rest);

	json[0] = '\0';
	while ((line = strtok_r(NULL, "\r\n", &rest)) && used + 2 * strlen(line) + 8 < size) {
		used += (size_t)sprintf(json + used, "%s\"", used ? ", " : "");
		for (; *line; line++) {
			if (*line == '"' || *line == '\\')
				json[used++] = '\\';
			json[used++] = *line;
		}
		used += (size_t)sprintf(json + used, "\"");
	}
}

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char path[1024] = "", top[160];
	char *head = malloc(HEAD), *headers = malloc(BODY), *next = malloc(BODY), *body = malloc(3 * BODY);

	if (head && headers && next && body && receive(fd, head, HEAD, 1) == 0 &&
	    sscanf(head, "%*15s %1023s", path) == 1) {
		list_headers(head, headers, BODY);
		strcpy(next, "null");
		if (next_port)
			ask_next_hop(path, next, BODY);
		int length = snprintf(body, 3 * BODY, "{\"service\": \"%s\", \"received\": [%s], \"next\": %s}", name,
				      headers, next);
		snprintf(top, sizeof top,
			 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
			 "Connection: close\r\n\r\n",
			 length);
		if (send_all(fd, top, strlen(top)) == 0)
			send_all(fd, body, (size_t)length);
	}
	free(head), free(headers), free(next), free(body);
	close(fd);
	return NULL;
}

int main(int count, char **arguments)
{
	if (count < 3)
		return 2;
	name = arguments[1];
	next_port = count > 3 ? atoi(arguments[3]) : 0;
	signal(SIGPIPE, SIG_IGN);

	struct sockaddr_in address = loopback(atoi(arguments[2]));
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
		perror("service");
		return 1;
	}
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;
		if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
			pthread_detach(thread);
		else if (fd >= 0)
			close(fd);
	}
}
