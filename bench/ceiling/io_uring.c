/* The ceiling over io_uring: what constant.c does, with completions instead of readiness.
 *
 * One multishot accept, one multishot receive per client into provided buffers, and one system call per turn of the loop, which
 * submits every answer of the turn and waits for the next (io_uring(7)). bench/ceiling/compare.py measures it beside constant.c;
 * it is not a server.
 *
 * usage: io_uring PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFERS 512
#define SIZE 2048

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nServer: constant\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                             "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

/* What a completion is about: the upper half of its user data. The lower one is the descriptor. */
enum { ACCEPT, RECEIVE, SEND };

static struct io_uring ring;

static void fail(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

static struct io_uring_sqe *entry(void) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    if (entry) return entry;
    io_uring_submit(&ring);
    return io_uring_get_sqe(&ring);
}

static void label(struct io_uring_sqe *entry, unsigned kind, int fd) {
    io_uring_sqe_set_data64(entry, ((unsigned long long)kind << 32) | (unsigned)fd);
}

static void receive(int fd) {
    struct io_uring_sqe *receive = entry();
    io_uring_prep_recv_multishot(receive, fd, NULL, 0, 0);
    receive->flags |= IOSQE_BUFFER_SELECT;
    label(receive, RECEIVE, fd);
}

static void answer(int fd) {
    struct io_uring_sqe *send = entry();
    io_uring_prep_send(send, fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
    send->flags |= IOSQE_CQE_SKIP_SUCCESS;
    label(send, SEND, fd);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: io_uring PORT\n");
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, error;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) fail("listen", errno);

    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE, .cq_entries = 4096};
    if ((error = io_uring_queue_init_params(1024, &ring, &parameters))) fail("io_uring_setup", -error);
    char *buffers = malloc(BUFFERS * SIZE);
    struct io_uring_buf_ring *provided;
    if (!buffers || posix_memalign((void **)&provided, 4096, BUFFERS * sizeof(struct io_uring_buf))) fail("memory", ENOMEM);
    struct io_uring_buf_reg registration = {.ring_addr = (unsigned long)provided, .ring_entries = BUFFERS};
    if ((error = io_uring_register_buf_ring(&ring, &registration, 0))) fail("io_uring_register", -error);
    io_uring_buf_ring_init(provided);
    int mask = io_uring_buf_ring_mask(BUFFERS);
    for (int id = 0; id < BUFFERS; id++) io_uring_buf_ring_add(provided, buffers + id * SIZE, SIZE, id, mask, id);
    io_uring_buf_ring_advance(provided, BUFFERS);

    struct io_uring_sqe *accept = entry();
    io_uring_prep_multishot_accept(accept, listener, NULL, NULL, 0);
    label(accept, ACCEPT, listener);
    for (;;) {
        io_uring_submit_and_wait(&ring, 1);
        struct io_uring_cqe *completion;
        unsigned head, seen = 0;
        int returned = 0;
        io_uring_for_each_cqe(&ring, head, completion) {
            seen++;
            int fd = (int)completion->user_data, result = completion->res;
            if (completion->user_data >> 32 == ACCEPT && result >= 0) {
                setsockopt(result, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                receive(result);
            }
            if (completion->user_data >> 32 != RECEIVE) continue;
            if (result <= 0 && result != -ENOBUFS) {
                close(fd);
                continue;
            }
            if (result > 0) {
                int id = completion->flags >> IORING_CQE_BUFFER_SHIFT;
                char *request = buffers + id * SIZE;
                /* One request per receive: true of the load that this is for. */
                if (result >= 4 && !memcmp(request + result - 4, "\r\n\r\n", 4)) answer(fd);
                io_uring_buf_ring_add(provided, request, SIZE, id, mask, returned++);
            }
            if (!(completion->flags & IORING_CQE_F_MORE)) receive(fd);
        }
        io_uring_cq_advance(&ring, seen);
        if (returned) io_uring_buf_ring_advance(provided, returned);
    }
}
