/* Keeps a server busy with readers of every kind, for as long as it is told; one thread, epoll.
 *
 *   ./soak PORT SECONDS STREAMS SLOW SEND_TIMEOUT_S WINDOW_S TOKENS DELAY_MS LONG_TOKENS
 *
 * STREAMS readers always have a stream each: TOKENS tokens at most, DELAY_MS apart. Of twenty, twelve read to the end, four
 * leave and come back with Last-Event-ID, two press Stop, and two close their tab. When a stream is over, its reader asks
 * for another. SLOW readers read answers of LONG_TOKENS tokens that are kept: of ten, six trickle, two pause, and two do
 * not read at all. The last kind must be given up after SEND_TIMEOUT_S, and the others must get everything. After SECONDS
 * no reader asks again. Prints one line of JSON per WINDOW_S and one at the end; what is wrong goes to stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"

enum { ID_BYTES = 80, LINE_BYTES = 512, BUCKETS = 1200, TICK_US = 20000, REFUSED_US = 1000000, SEGMENT_BYTES = 1400 };
enum { SLOWEST_CONNECTIONS_PER_S = 100, DETAILS = 50 };

typedef enum { READS, RETURNS, STOPS, LEAVES, TRICKLES, PAUSES, MUTE, STOPPER } Kind;
enum { RUNNING, WHOLE, RETURNED, STOPPED, LEFT, SLOW_WHOLE, GIVEN_UP, REFUSED, KINDS };

typedef struct Client {
    Answer answer;
    struct Client *stopper; /* its second connection, which has the first one here */
    Kind kind;
    int fd, number, has_returned, done, stopping, reads;
    char line[LINE_BYTES], data[LINE_BYTES], id[ID_BYTES], pending_id[ID_BYTES], event[16], status[16];
    int line_len, tokens, next, acts_at;
    int64_t asked, began, wake_at, back_at, stopped_at, bytes_per_s;
    double earliest;
} Client;

static const char *NAMES[KINDS] = {"begun", "whole", "returned", "stopped", "left", "slow_whole", "given_up", "refused"};
static int port, streams, slow, most_tokens, delay_ms, long_tokens, epoll_fd, closing, wrong;
static int64_t started, send_timeout_us;
static long counts[KINDS], arrived, lags[BUCKETS], lag_n;
static double longest;

static void fault(const Client *c, const char *format, ...) {
    va_list values;
    if (wrong++ >= DETAILS) return;
    va_start(values, format);
    fprintf(stderr, "%.1f s, reader %d of kind %d, stream %s, token %d of %d: ", (double)(now_us() - started) / 1e6,
            c->number, c->kind, c->id, c->next, c->tokens);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
}

static int is_slow(const Client *c) { return c->kind >= TRICKLES && c->kind <= MUTE; }

static void close_client(Client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void send_request(Client *c, const char *request, int len) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, size = c->kind == PAUSES ? 8192 : 4096, segment = SEGMENT_BYTES;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (is_slow(c)) { /* segments as in a network, or loopback's would give the server a buffer of megabytes */
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    }
    expect_answer(&c->answer);
    c->line_len = 0;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) || send(c->fd, request, (size_t)len, MSG_NOSIGNAL) < 0)
        fault(c, "no connection: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (!is_slow(c)) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void ask(Client *c) {
    static char request[2048], body[256];
    char owner[32] = "slow", key[64] = "";
    int len;
    if (!is_slow(c)) snprintf(owner, sizeof owner, "reader %d", c->number);
    else snprintf(key, sizeof key, ",\"key\":\"%lld\"", (long long)((now_us() - started) * 3 / send_timeout_us / 2));
    len = snprintf(body, sizeof body, "{\"prompt\":\"x\",\"model\":\"bench-n%d-d%d\"%s}", c->tokens, is_slow(c) ? 0 : delay_ms, key);
    len = snprintf(request, sizeof request, "POST /llm/chat HTTP/1.1\r\nHost: soak\r\nX-Owner: %s\r\n"
                   "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", owner, len, body);
    send_request(c, request, len);
}

static int share(int of, int *rest) { return (*rest -= of) < 0; }

static void begin(Client *c, int is_paced) {
    int dice = rand() % 20;
    close_client(c);
    c->wake_at = 0;
    if (closing) {
        counts[RUNNING]--;
        return;
    }
    c->has_returned = c->done = c->stopping = c->next = c->reads = 0;
    *c->id = *c->pending_id = *c->event = *c->status = *c->data = 0;
    c->earliest = 1e18;
    c->asked = now_us();
    c->began = c->back_at = c->stopped_at = 0;
    if (is_paced) {
        c->kind = share(12, &dice) ? READS : share(4, &dice) ? RETURNS : share(2, &dice) ? STOPS : LEAVES;
        c->tokens = most_tokens / 5 * (1 + rand() % 5);
        c->acts_at = 1 + rand() % (c->tokens / 2);
    } else {
        c->kind = share(12, &dice) ? TRICKLES : share(4, &dice) ? PAUSES : MUTE;
        c->tokens = long_tokens;
        c->bytes_per_s = (int64_t)(long_tokens * 80e6 / ((double)send_timeout_us * (.7 + rand() % 180 / 100.)));
        c->wake_at = c->asked + 500000;
    }
    ask(c);
}

static void count_lag(Client *c, int number, int64_t now) {
    double late = (double)(now - c->asked) - number * delay_ms * 1000.;
    if (late < c->earliest) c->earliest = late;
    if (c->back_at && (double)(c->back_at - c->asked) > number * delay_ms * 1000. + c->earliest) return; /* repeated for it */
    double lag = late - c->earliest;
    int bucket = (int)(log(lag + 1) / log(1.02));
    lags[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    lag_n++;
    if (lag > longest) longest = lag;
}

static void tokens_of(Client *c, int64_t now) {
    for (char *at = strchr(c->data, '#'); at; at = strchr(at + 1, '#')) {
        int number = atoi(at + 1);
        if (number != c->next) fault(c, "token %d came", number);
        c->next = number + 1;
        arrived++;
        if (!is_slow(c)) count_lag(c, number, now);
    }
}

static void press_stop(Client *c) {
    char request[512];
    c->stopping = 1;
    int len = (int)(strrchr(c->id, '-') - c->id);
    len = snprintf(request, sizeof request, "DELETE /llm/streams/%.*s HTTP/1.1\r\nHost: soak\r\nX-Owner: reader %d\r\n\r\n",
                   len, c->id, c->number);
    close_client(c->stopper);
    send_request(c->stopper, request, len);
}

static void act(Client *c) {
    if (c->next < c->acts_at || c->stopping || c->has_returned || c->done) return;
    if (c->kind == STOPS) press_stop(c);
    else if (c->kind == LEAVES) counts[LEFT]++, begin(c, 1);
    else if (c->kind == RETURNS) {
        close_client(c);
        c->has_returned = 1;
        c->wake_at = now_us() + 200000 + rand() % 1000000;
    }
}

static void come_back(Client *c) {
    char request[512];
    int len = (int)(strrchr(c->id, '-') - c->id);
    c->wake_at = 0;
    c->back_at = now_us();
    len = snprintf(request, sizeof request, "GET /llm/streams/%.*s HTTP/1.1\r\nHost: soak\r\nX-Owner: reader %d\r\n"
                   "Last-Event-ID: %s\r\n\r\n", len, c->id, c->number, c->id);
    send_request(c, request, len);
}

static void event_line(Client *c, int64_t now) {
    char *text = c->line;
    if (!strncmp(text, "id: ", 4)) snprintf(c->pending_id, sizeof c->pending_id, "%s", text + 4);
    else if (!strncmp(text, "event: ", 7)) snprintf(c->event, sizeof c->event, "%s", text + 7);
    else if (!strncmp(text, "data: ", 6)) memcpy(c->data, text, sizeof c->data);
    else if (!*text && *c->pending_id) { /* the event's end: only now is it received */
        memcpy(c->id, c->pending_id, sizeof c->id);
        if (!strcmp(c->event, "delta")) tokens_of(c, now);
        if (!strcmp(c->event, "failure")) fault(c, "%s", c->data);
        if (!strcmp(c->event, "done")) {
            c->done = 1;
            sscanf(c->data, "data: {\"status\":\"%15[a-z]", c->status);
        }
        *c->pending_id = *c->event = *c->data = 0;
    }
}

static void payload(Answer *answer, const char *data, long len, int64_t now) {
    Client *c = (Client *)answer;
    for (long i = 0; i < len; i++) {
        if (data[i] != '\n') {
            if (c->line_len < LINE_BYTES - 1) c->line[c->line_len++] = data[i];
            continue;
        }
        c->line[c->line_len] = 0;
        if (c->line_len == LINE_BYTES - 1) fault(c, "a line is too long");
        c->line_len = 0;
        event_line(c, now);
    }
}

/* The answer, or its connection, has ended. */
static void judge(Client *c) {
    int is_whole = c->answer.status == 200 && c->done && c->next == c->tokens && !strcmp(c->status, "completed");
    if (c->kind == STOPPER) {
        if (c->answer.status != 204) fault(c, "the stop was answered with %d", c->answer.status);
        c->stopper->stopped_at = now_us();
        close_client(c);
        return;
    }
    if (c->answer.status == 503) { /* nothing was bought */
        counts[REFUSED]++;
        close_client(c);
        c->wake_at = now_us() + REFUSED_US;
        return;
    }
    if (c->kind == MUTE) {
        if (c->done || c->answer.status != 200) fault(c, "it was not given up: status %d", c->answer.status);
        else counts[GIVEN_UP]++;
    } else if (c->kind == STOPS && c->stopping) {
        int is_late = is_whole && (!c->stopped_at || now_us() - c->stopped_at < 1000000); /* the answer was faster */
        if (c->done && !strcmp(c->status, "cancelled")) counts[STOPPED]++;
        else if (is_late) counts[WHOLE]++;
        else fault(c, "it was stopped, and ended as %s", c->status);
    } else if (!is_whole) fault(c, "HTTP %d, done: %d, status %s, %s", c->answer.status, c->done, c->status, c->answer.line);
    else counts[is_slow(c) ? SLOW_WHOLE : c->has_returned ? RETURNED : WHOLE]++;
    begin(c, !is_slow(c));
}

/* 0 if there is nothing to read. */
static long read_some(Client *c, size_t most) {
    static char data[1 << 18];
    if (c->fd < 0) return 0;
    ssize_t got = recv(c->fd, data, most < sizeof data ? most : sizeof data, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0 || take(&c->answer, data, got, now_us())) judge(c);
    else if (c->kind <= LEAVES) act(c);
    return got < 0 ? 0 : got;
}

static void read_slowly(Client *c, int64_t now) {
    if (c->kind == TRICKLES) {
        c->wake_at = now + send_timeout_us / 60;
        read_some(c, (size_t)(c->bytes_per_s * send_timeout_us / 60000000) + 1);
    } else if (c->kind == PAUSES) {
        c->wake_at = now + (++c->reads % 20 ? TICK_US : send_timeout_us / 5 + rand() % (int)(send_timeout_us / 3));
        read_some(c, 1 << 16);
    } else if (!c->began) {
        int waiting = 0;
        ioctl(c->fd, FIONREAD, &waiting);
        if (waiting) c->began = now; /* a busy server may have taken its time */
        c->wake_at = now + (waiting ? 2 * send_timeout_us : 500000);
    } else {
        int is_long = now - c->began > 3 * send_timeout_us;
        c->wake_at = now + TICK_US;
        if (is_long) fault(c, "it is kept waiting"), begin(c, 0);
        else read_some(c, 1 << 16);
    }
}

static void tick(Client *all, int64_t now) {
    for (int i = 0; i < streams + slow; i++) {
        Client *c = &all[i];
        if (!c->wake_at || c->wake_at > now) continue;
        if (c->fd < 0 && !c->has_returned) begin(c, !is_slow(c)); /* it was refused */
        else if (is_slow(c)) read_slowly(c, now);
        else come_back(c);
    }
}

static double lag_at(double q) {
    long seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        if ((double)(seen += lags[i]) > q * (double)lag_n) return (pow(1.02, i + .5) - 1) / 1000;
    return 0;
}

static void report(void) {
    printf("{\"at\": %.3f, \"tokens\": %ld, \"lag_p50\": %.3f, \"lag_p99\": %.3f, \"lag_max\": %.3f, \"wrong\": %d",
           (double)(now_us() - started) / 1e6, arrived, lag_at(.5), lag_at(.99), longest / 1000, wrong);
    for (int i = 0; i < KINDS; i++) printf(", \"%s\": %ld", NAMES[i], counts[i]);
    puts("}");
    fflush(stdout);
    memset(lags, 0, sizeof lags);
    lag_n = 0, longest = 0;
}

int main(int argc, char **argv) {
    if (argc < 10) return fprintf(stderr, "usage: see the top of soak.c\n"), 2;
    port = atoi(argv[1]), streams = atoi(argv[3]), slow = atoi(argv[4]);
    int64_t lasts_us = (int64_t)(atof(argv[2]) * 1e6), window_us = (int64_t)(atof(argv[6]) * 1e6), ticked = 0;
    send_timeout_us = (int64_t)(atof(argv[5]) * 1e6);
    most_tokens = atoi(argv[7]), delay_ms = atoi(argv[8]), long_tokens = atoi(argv[9]);
    Client *all = calloc((size_t)(2 * streams + slow), sizeof *all);
    epoll_fd = epoll_create1(0);
    started = now_us();
    srand(1);
    int opened = 0;
    int64_t reported = started;
    struct epoll_event events[512];
    for (int i = 0; i < 2 * streams + slow; i++) {
        all[i].number = i;
        all[i].fd = -1;
        all[i].kind = i < streams ? READS : i < streams + slow ? TRICKLES : STOPPER;
        if (i < streams) all[i].stopper = &all[streams + slow + i], all[i].stopper->stopper = &all[i];
    }
    while (!closing || counts[RUNNING]) {
        int64_t now = now_us();
        closing = now - started > lasts_us;
        for (; opened < streams + slow && opened * 1e6 <= (double)(now - started) * SLOWEST_CONNECTIONS_PER_S; opened++) {
            int is_mixed = opened < 2 * streams && opened < 2 * slow; /* both kinds by turns, then those that are left */
            int i = is_mixed ? opened / 2 + opened % 2 * streams : streams < slow ? opened : opened - slow;
            counts[RUNNING]++;
            begin(&all[i], i < streams);
        }
        if (now - started > lasts_us + 6 * send_timeout_us + 30000000) break;
        int n = epoll_wait(epoll_fd, events, 512, TICK_US / 1000);
        for (int i = 0; i < n; i++) read_some(events[i].data.ptr, 1 << 18);
        now = now_us();
        if (now - ticked > TICK_US) tick(all, ticked = now);
        if (now - reported >= window_us) report(), reported += window_us;
    }
    for (int i = 0; i < streams + slow; i++)
        if (all[i].fd >= 0 || (!is_slow(&all[i]) && all[i].wake_at)) fault(&all[i], "it has no end");
    report();
    return 0;
}
