/* Reads streams of one worker at another; one thread, epoll.
 *
 *   ./readers follow PORT OTHER_PORT PATH FOLLOW_PATH BODY STREAMS TOKENS RATE SECONDS
 *   ./readers resume …
 *
 * Each stream is started by a POST of BODY to PATH at PORT, RATE of them per second, and read there. FOLLOW_PATH has %s
 * for the stream's id, which is what stands before the last "-" in the event ids. `follow`: as soon as the id is known,
 * a second reader follows the stream at OTHER_PORT. The delay of a token is its arrival there less its arrival here, for
 * tokens that came here after the second reader had its head. `resume`: when the connection is cut, the reader asks at
 * OTHER_PORT with its Last-Event-ID, and again each second if that is refused. Ends when all have `event: done`, or
 * after SECONDS. Prints one line of JSON: delays in milliseconds, points in time in seconds of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"

enum { ID_BYTES = 80, LINE_BYTES = 512, AGAIN_US = 1000000 };

typedef struct Reader {
    Answer answer;
    struct Reader *pair; /* the reader at the other worker, and the other way round */
    int fd, port, open, done, is_second;
    char line[LINE_BYTES], pending_id[ID_BYTES], id[ID_BYTES];
    int line_len, is_last_event;
    int next, disordered;
    int64_t asked, first_event, ended, ask_again;
    int64_t *at;
} Reader;

static int epoll_fd, following, streams, tokens, running, refused;
static const char *path, *follow_path, *body;

static void ask(Reader *r) {
    static char request[4096], where[512];
    char id[ID_BYTES];
    int len;
    if (r->is_second) {
        snprintf(id, sizeof id, "%s", r->pair->id);
        char *dash = strrchr(id, '-');
        if (dash) *dash = 0;
        snprintf(where, sizeof where, follow_path, id);
        len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n", where, r->port,
                       following ? "" : "Last-Event-ID: ", following ? "" : r->id, following ? "" : "\r\n");
    } else {
        len = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s", path, r->port, strlen(body), body);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    expect_answer(&r->answer);
    r->line_len = 0;
    r->ask_again = 0;
    r->asked = now_us();
    if (connect(r->fd, (struct sockaddr *)&address, sizeof address) || send(r->fd, request, (size_t)len, MSG_NOSIGNAL) < 0) {
        close(r->fd);
        refused++;
        r->ask_again = r->asked + AGAIN_US;
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = r};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, r->fd, &event);
    r->open = 1;
    running++;
}

static void token(Reader *r, int number, int64_t now) {
    if (number < r->next || number >= tokens) r->disordered = 1;
    else r->at[number] = now, r->next = number + 1;
}

static void event_line(Reader *r, int64_t now) {
    char *text = r->line;
    if (!strncmp(text, "id: ", 4)) snprintf(r->pending_id, sizeof r->pending_id, "%s", text + 4);
    else if (!strncmp(text, "event: ", 7)) r->is_last_event = !strcmp(text + 7, "done");
    else if (!strncmp(text, "data: ", 6)) {
        for (char *at = strchr(text, '#'); at; at = strchr(at + 1, '#')) token(r, atoi(at + 1), now);
    } else if (!*text && *r->pending_id) { /* the event's end: only now is it received */
        memcpy(r->id, r->pending_id, sizeof r->id);
        if (!r->first_event) r->first_event = now;
        if (r->is_last_event) r->done = 1, r->ended = now;
        if (following && !r->is_second && !r->pair->asked) ask(r->pair);
    }
}

static void payload(Answer *answer, const char *data, long len, int64_t now) {
    Reader *r = (Reader *)answer;
    for (long i = 0; i < len; i++) {
        if (data[i] != '\n') {
            if (r->line_len < LINE_BYTES - 1) r->line[r->line_len++] = data[i];
            continue;
        }
        r->line[r->line_len] = 0;
        r->line_len = 0;
        event_line(r, now);
    }
}

/* The connection has ended, and with it the stream or not. */
static void end(Reader *r) {
    close(r->fd);
    r->open = 0;
    running--;
    if (r->done || following) return;
    if (!r->is_second) {
        Reader *second = r->pair;
        r->ended = now_us();
        memcpy(second->id, r->id, sizeof r->id);
        second->next = r->next;
        ask(second);
    } else {
        refused++;
        r->ask_again = now_us() + AGAIN_US;
    }
}

static void read_some(Reader *r) {
    static char data[1 << 18];
    ssize_t got = r->open ? recv(r->fd, data, sizeof data, MSG_DONTWAIT) : 0;
    if (!r->open || (got < 0 && errno == EAGAIN)) return;
    if (got <= 0 || take(&r->answer, data, got, now_us())) end(r);
}

static int has_all(Reader *r) { return r->done && r->next == tokens && !r->disordered; }

static void report(Reader *all) {
    int whole = 0, answered = 0, disordered = 0, cut = 0;
    long delays = 0, joins = 0, waits = 0;
    double *delay = malloc(sizeof *delay * (size_t)streams * (size_t)tokens), *join = malloc(sizeof *join * (size_t)streams);
    double *wait = malloc(sizeof *wait * (size_t)streams);
    int64_t last = 0;
    for (int i = 0; i < streams; i++) {
        Reader *first = &all[2 * i], *second = first->pair;
        whole += has_all(first) && has_all(second);
        disordered += first->disordered || second->disordered;
        cut += !first->done && first->ended;
        if (second->first_event) join[joins++] = (double)(second->first_event - second->asked) / 1000;
        if (second->done) {
            answered++;
            wait[waits++] = (double)(second->ended - first->ended) / 1000;
            if (second->ended > last) last = second->ended;
        }
        for (int n = 0; following && n < tokens; n++)
            if (second->first_event && first->at[n] > second->first_event && second->at[n])
                delay[delays++] = (double)(second->at[n] - first->at[n]) / 1000;
    }
    printf("{\"streams\": %d, \"whole\": %d, \"cut\": %d, \"answered\": %d, \"disordered\": %d, \"refused\": %d, ", streams,
           whole, cut, answered, disordered, refused);
    print("delay", delay, delays);
    print("join", join, joins);
    print("wait", wait, waits);
    printf("\"compared\": %ld, \"last_done_at\": %.6f}\n", delays, (double)last / 1e6);
}

int main(int argc, char **argv) {
    if (argc < 11) return fprintf(stderr, "usage: see the top of readers.c\n"), 2;
    following = !strcmp(argv[1], "follow");
    path = argv[4], follow_path = argv[5], body = argv[6];
    streams = atoi(argv[7]), tokens = atoi(argv[8]);
    double rate = atof(argv[9]), seconds = atof(argv[10]);
    Reader *all = calloc((size_t)streams * 2, sizeof *all);
    for (int i = 0; i < 2 * streams; i++) {
        all[i].is_second = i % 2;
        all[i].pair = &all[i ^ 1];
        all[i].port = atoi(argv[2 + i % 2]);
        all[i].at = calloc((size_t)tokens, sizeof *all[i].at);
    }
    epoll_fd = epoll_create1(0);
    struct epoll_event events[512];
    int opened = 0, waiting = 0;
    int64_t started = now_us(), deadline = started + (int64_t)(seconds * 1e6), looked = started;
    while ((opened < streams || running || waiting) && now_us() < deadline) {
        int due = rate > 0 ? (int)((double)(now_us() - started) * rate / 1e6) + 1 : streams;
        for (; opened < streams && opened < due; opened++) ask(&all[2 * opened]);
        int n = epoll_wait(epoll_fd, events, 512, opened < streams ? 1 : 50);
        for (int i = 0; i < n; i++) read_some(events[i].data.ptr);
        if (now_us() - looked < 50000) continue;
        looked = now_us();
        waiting = 0;
        for (int i = 0; i < 2 * streams; i++) {
            if (all[i].ask_again && all[i].ask_again <= looked) ask(&all[i]);
            waiting += all[i].ask_again > 0;
        }
    }
    report(all);
    return 0;
}
