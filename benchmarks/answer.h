/* Takes the body of an HTTP answer out of its head and its chunks. `load.c`, `readers.c` and `soak.c` include it; each defines
 * `payload`, which gets the bytes of the body as they come.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { HEAD, SIZE, PAYLOAD, AFTER_PAYLOAD, TRAILER, SIZED, UNTIL_CLOSE };

typedef struct {
    int state, chunked, status;
    long left;
    char line[8192];
    int line_len;
} Answer;

static void payload(Answer *answer, const char *data, long len, int64_t now);

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void expect_answer(Answer *a) {
    a->state = HEAD;
    a->line_len = a->chunked = a->status = 0;
    a->left = -1;
}

/* One line of a head, of a chunk's size, or of trailers; 1 at the end of the answer. */
static int line(Answer *a) {
    char *text = a->line;
    text[a->line_len] = 0;
    a->line_len = 0;
    if (a->state == HEAD) {
        if (!strncmp(text, "HTTP/", 5)) a->status = atoi(text + 9);
        else if (!strncasecmp(text, "transfer-encoding:", 18)) a->chunked = 1;
        else if (!strncasecmp(text, "content-length:", 15)) a->left = atol(text + 15);
        else if (!*text && a->status == 204) return 1;
        else if (!*text) a->state = a->chunked ? SIZE : a->left >= 0 ? SIZED : UNTIL_CLOSE;
        return a->state == SIZED && a->left == 0;
    }
    if (a->state == SIZE) a->left = strtol(text, NULL, 16), a->state = a->left ? PAYLOAD : TRAILER;
    else if (a->state == AFTER_PAYLOAD) a->state = SIZE;
    else if (a->state == TRAILER && !*text) return 1;
    return 0;
}

/* 1 when the answer has ended. */
static int take(Answer *a, const char *data, long len, int64_t now) {
    for (long i = 0; i < len;) {
        if (a->state == PAYLOAD || a->state == SIZED || a->state == UNTIL_CLOSE) {
            long n = a->state == UNTIL_CLOSE || a->left > len - i ? len - i : a->left;
            payload(a, data + i, n, now);
            i += n;
            if (a->state == UNTIL_CLOSE) continue;
            a->left -= n;
            if (!a->left && a->state == SIZED) return 1;
            if (!a->left) a->state = AFTER_PAYLOAD;
            continue;
        }
        char c = data[i++];
        if (c == '\n') {
            if (line(a)) return 1;
        } else if (c != '\r' && a->line_len < (int)sizeof a->line - 1) a->line[a->line_len++] = c;
    }
    return 0;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, long n, double q) { return n ? values[(long)(q * (double)(n - 1))] : -1; }

static void print(const char *name, double *values, long n) {
    qsort(values, (size_t)n, sizeof *values, by_size);
    printf("\"%s\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}, ", name, quantile(values, n, .5),
           quantile(values, n, .99), quantile(values, n, 1));
}
