/* Opens many streams at once and reads them all; one thread, epoll.
 *
 *   ./load PORT PATH BODY STREAMS TOKENS DELAY_MS RATE REQUESTS
 *
 * It knows no wire: wherever the text "#i " stands in a body, token i has arrived; an answer is whole if they came in
 * order, each once. RATE: connections opened per second (0: all at once). REQUESTS: one after another on each
 * connection. Prints one line of JSON: how many answers were whole, the time to the first token, and the lag of each
 * token: how much later than i x DELAY_MS it came, as against the earliest of its stream. Times are in milliseconds.
 * On SIGUSR1 it prints a line with the number of tokens that have come so far.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"

typedef struct {
    Answer answer;
    int fd, requests, ended;
    int in_token, number, next;
    int64_t asked;
    int32_t *at; /* arrival of each token, microseconds after `asked` */
} Stream;

static int streams, tokens, requests, port;
static double delay_ms;
static char *request;
static size_t request_len;
static int whole, broken, running;
static int64_t bytes, arrived;
static double *ttft, *lag;
static long ttft_n, lag_n;
static volatile sig_atomic_t asked_for_count;

static void begin(Stream *s) {
    expect_answer(&s->answer);
    s->in_token = s->next = 0;
    s->requests--;
    s->asked = now_us();
    if (send(s->fd, request, request_len, MSG_NOSIGNAL) < 0) broken++;
}

static void finish(Stream *s) {
    if (s->next != tokens || s->answer.status != 200) {
        broken++;
        return;
    }
    whole++;
    ttft[ttft_n++] = s->at[0] / 1000.0;
    double earliest = 1e18;
    for (int i = 0; i < tokens; i++) {
        double late = s->at[i] / 1000.0 - i * delay_ms;
        if (late < earliest) earliest = late;
    }
    for (int i = 0; i < tokens && delay_ms > 0; i++) lag[lag_n++] = s->at[i] / 1000.0 - i * delay_ms - earliest;
}

static void payload(Answer *answer, const char *data, long len, int64_t now) {
    Stream *s = (Stream *)answer;
    for (long i = 0; i < len; i++) {
        char c = data[i];
        if (c == '#') s->in_token = 1, s->number = 0;
        else if (s->in_token && c >= '0' && c <= '9') s->number = s->number * 10 + c - '0';
        else if (s->in_token) {
            if (c == ' ' && s->number == s->next && s->next < tokens) {
                s->at[s->next++] = (int32_t)(now - s->asked);
                arrived++;
            } else if (c == ' ') s->next = tokens + 1; /* out of order */
            s->in_token = 0;
        }
    }
}

static void end(Stream *s) {
    close(s->fd);
    s->ended = 1;
    running--;
}

static void ask_for_count(int sign) {
    (void)sign;
    asked_for_count = 1;
}

static void print_count(void) {
    asked_for_count = 0;
    printf("{\"arrived\": %lld}\n", (long long)arrived);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 9) return fprintf(stderr, "usage: load PORT PATH BODY STREAMS TOKENS DELAY_MS RATE REQUESTS\n"), 2;
    signal(SIGUSR1, ask_for_count);
    port = atoi(argv[1]), streams = atoi(argv[4]), tokens = atoi(argv[5]), delay_ms = atof(argv[6]);
    double rate = atof(argv[7]);
    requests = atoi(argv[8]);
    request_len = (size_t)asprintf(&request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                                   "Content-Length: %zu\r\n\r\n%s", argv[2], port, strlen(argv[3]), argv[3]);
    Stream *all = calloc((size_t)streams, sizeof *all);
    ttft = malloc(sizeof *ttft * (size_t)(streams * requests));
    lag = malloc(sizeof *lag * (size_t)streams * (size_t)requests * (size_t)tokens);
    int epoll_fd = epoll_create1(0), opened = 0, one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct epoll_event events[512];
    static char data[1 << 18];
    int64_t started = now_us(), deadline = started + 120 * 1000000LL;
    while ((opened < streams || running) && now_us() < deadline) {
        int due = rate > 0 ? (int)((double)(now_us() - started) * rate / 1e6) + 1 : streams;
        for (; opened < streams && opened < due; opened++) {
            Stream *s = &all[opened];
            s->fd = socket(AF_INET, SOCK_STREAM, 0);
            s->requests = requests;
            s->at = malloc(sizeof *s->at * (size_t)tokens);
            setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            if (connect(s->fd, (struct sockaddr *)&address, sizeof address)) {
                broken++, s->ended = 1;
                continue;
            }
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &event);
            running++;
            begin(s);
        }
        int n = epoll_wait(epoll_fd, events, 512, opened < streams ? 1 : 1000);
        int64_t now = now_us();
        if (asked_for_count) print_count();
        for (int i = 0; i < n; i++) {
            Stream *s = events[i].data.ptr;
            ssize_t got = s->ended ? 0 : recv(s->fd, data, sizeof data, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got > 0) bytes += got;
            int over = got > 0 && take(&s->answer, data, got, now);
            if (got <= 0 || over) {
                finish(s);
                if (over && s->requests) begin(s);
                else if (!s->ended) end(s);
            }
        }
    }
    printf("{\"whole\": %d, \"broken\": %d, \"unfinished\": %d, \"seconds\": %.3f, \"bytes\": %lld, ", whole, broken,
           running, (double)(now_us() - started) / 1e6, (long long)bytes);
    print("ttft", ttft, ttft_n);
    print("lag", lag, lag_n);
    printf("\"tokens\": %ld}\n", (long)whole * tokens);
    return whole == streams * requests ? 0 : 1;
}
