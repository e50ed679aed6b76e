/* A mock of an OpenAI-compatible streaming API: one thread, epoll, so lean that it is not what is measured.
 *
 *   ./upstream PORT
 *
 * The model's name says what to answer: `bench-n300-d20` is 300 tokens, 20 ms apart (d0: as fast as the socket takes
 * them). Token i is the text "#i ", in an event of about the size that real ones have; then come the finish, the usage
 * and [DONE]. POST …/responses is answered in the events of the Responses API. Every event is an HTTP chunk, paced ones
 * are each in a packet of their own. Connections are kept.
 * GET /stats: {"connections": accepted, "open": streams running, "left": streams that the client left}.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, IN_BYTES = 16384, BURST_BYTES = 65536 };

typedef struct {
    char in[IN_BYTES];
    int in_len;
    int tokens, delay_ms, next, streaming, is_response;
    int64_t due;
    char *out;
    size_t out_len, out_pos, out_cap;
} Connection;

static Connection *connections[MAX_FDS];
static int epoll_fd, open_streams, left_streams, accepted;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void put(Connection *c, const char *data, size_t len) {
    if (c->out_pos == c->out_len) c->out_pos = c->out_len = 0;
    if (c->out_len + len > c->out_cap) {
        c->out_cap = (c->out_len + len) * 2;
        c->out = realloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

static void put_chunk(Connection *c, const char *data, int len) {
    char size[16];
    put(c, size, (size_t)sprintf(size, "%x\r\n", len));
    put(c, data, (size_t)len);
    put(c, "\r\n", 2);
}

#define FRAME "data: {\"id\":\"chatcmpl-0123456789abcdefghijklmnopqrs\",\"object\":\"chat.completion.chunk\"," \
              "\"created\":1795338921,\"model\":\"bench\",\"service_tier\":\"default\"," \
              "\"system_fingerprint\":\"fp_0123456789\",\"choices\":["

#define NAMED(kind) "event: response." kind "\ndata: {\"type\":\"response." kind "\",\"sequence_number\":%d,"

static void put_token(Connection *c) {
    char event[512];
    int len;
    if (c->is_response) {
        len = sprintf(event, NAMED("output_text.delta")
                      "\"item_id\":\"msg_0123456789abcdefghijklmnopqrstuvwxyz0123456789ab\",\"output_index\":0,"
                      "\"content_index\":0,\"delta\":\"#%d \",\"logprobs\":[],\"obfuscation\":\"0123456789\"}\n\n", c->next, c->next);
        c->next++;
        put_chunk(c, event, len);
        return;
    }
    len = sprintf(event, FRAME "{\"index\":0,\"delta\":{\"content\":\"#%d \"},\"logprobs\":null,"
                      "\"finish_reason\":null}],\"usage\":null}\n\n", c->next++);
    put_chunk(c, event, len);
}

static void put_end(Connection *c) {
    char event[512];
    int len;
    if (c->is_response) {
        len = sprintf(event, NAMED("completed")
                      "\"response\":{\"id\":\"resp_bench\",\"status\":\"completed\",\"model\":\"bench\","
                      "\"incomplete_details\":null,\"output\":[],"
                      "\"usage\":{\"input_tokens\":8,\"output_tokens\":%d,\"total_tokens\":%d}}}\n\n", c->next, c->tokens, c->tokens + 8);
        put_chunk(c, event, len);
    } else {
        len = sprintf(event, FRAME "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n");
        put_chunk(c, event, len);
        len = sprintf(event, FRAME "],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
                      c->tokens, c->tokens + 8);
        put_chunk(c, event, len);
        put_chunk(c, "data: [DONE]\n\n", 14);
    }
    put(c, "0\r\n\r\n", 5);
    c->streaming = 0;
    open_streams--;
}

static void close_connection(int fd) {
    Connection *c = connections[fd];
    if (c->streaming) open_streams--, left_streams++;
    free(c->out);
    free(c);
    connections[fd] = NULL;
    close(fd);
}

/* Sends what there is, and makes more of an unpaced answer while the socket takes it; 0 if the client has gone. */
static int flush(int fd) {
    Connection *c = connections[fd];
    for (;;) {
        while (c->out_pos < c->out_len) {
            ssize_t n = send(fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);
            if (n < 0) return errno == EAGAIN || errno == EINTR;
            c->out_pos += (size_t)n;
        }
        if (!c->streaming || c->delay_ms) return 1;
        while (c->next < c->tokens && c->out_len - c->out_pos < BURST_BYTES) put_token(c);
        if (c->next == c->tokens) put_end(c);
    }
}

static void answer(Connection *c, const char *request) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    char text[256];
    const char *model = strstr(request, "bench-n");
    if (!strncmp(request, "GET ", 4)) {
        char body[128];
        int len = sprintf(body, "{\"connections\": %d, \"open\": %d, \"left\": %d}", accepted, open_streams, left_streams);
        put(c, text, (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                                     len, body));
        return;
    }
    c->tokens = 10;
    c->delay_ms = c->next = 0;
    if (model) sscanf(model, "bench-n%d-d%d", &c->tokens, &c->delay_ms);
    c->streaming = 1;
    c->is_response = strstr(request, "/responses ") != NULL;
    open_streams++;
    put(c, head, sizeof head - 1);
    c->due = now_us();
}

/* Takes one whole request out of what was read, if there is one. */
static int next_request(Connection *c) {
    c->in[c->in_len] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(c->in, "content-length:");
    int total = (int)(end - c->in) + 4 + (length && length < end ? atoi(length + 15) : 0);
    if (c->in_len < total) return 0;
    answer(c, c->in);
    memmove(c->in, c->in + total, (size_t)(c->in_len - total));
    c->in_len -= total;
    return 1;
}

static void readable(int fd) {
    Connection *c = connections[fd];
    ssize_t n = recv(fd, c->in + c->in_len, sizeof c->in - 1 - (size_t)c->in_len, 0);
    if (n <= 0 && !(n < 0 && errno == EAGAIN)) {
        close_connection(fd);
        return;
    }
    if (n > 0) c->in_len += (int)n;
    while (!c->streaming && next_request(c)) {}
    if (!flush(fd)) close_connection(fd);
}

/* Sends the tokens that are due; returns the microseconds until the next one is. */
static int64_t tick(int highest) {
    int64_t now = now_us(), soonest = 1000000;
    for (int fd = 0; fd <= highest; fd++) {
        Connection *c = connections[fd];
        if (!c || !c->streaming || !c->delay_ms) continue;
        if (c->due <= now) {
            put_token(c);
            c->due += c->delay_ms * 1000LL;
            if (c->next == c->tokens) put_end(c);
            if (!flush(fd)) {
                close_connection(fd);
                continue;
            }
        }
        if (c->streaming && c->due - now < soonest) soonest = c->due - now;
    }
    return soonest < 0 ? 0 : soonest;
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 9100, one = 1, highest = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("upstream");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int64_t wait = tick(highest);
        struct timespec timeout = {wait / 1000000, wait % 1000000 * 1000};
        int n = epoll_pwait2(epoll_fd, events, 512, &timeout, NULL);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (connections[fd] && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(fd);
                if (connections[fd] && events[i].events & EPOLLOUT && !flush(fd)) close_connection(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_FDS) { close(fd); continue; }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[fd] = calloc(1, sizeof(Connection));
                accepted++;
                if (fd > highest) highest = fd;
                event = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
                epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
