/* A stand-in for NVIDIA's library of switches: COUNT switches in mode MODE, by the published header. What goes wrong is said when
 * it is compiled: CREATE, OBSERVE and INPUT are results, ONE is what a switch's own callback says, SIZE is added to every length,
 * TIMES is how often each calls back, NAME is how switches are called. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef COUNT
#define COUNT 2
#endif
#ifndef MODE
#define MODE 3
#endif
#ifndef CREATE
#define CREATE 0
#endif
#ifndef OBSERVE
#define OBSERVE 0
#endif
#ifndef INPUT
#define INPUT 0
#endif
#ifndef ONE
#define ONE 0
#endif
#ifndef SIZE
#define SIZE 0
#endif
#ifndef TIMES
#define TIMES 1
#endif
#ifndef NAME
#define NAME "SWX-%02X"
#endif

typedef struct { uint8_t bytes[16]; } uuid;
typedef struct { char data[64]; } label;
typedef struct { uint32_t size; uint8_t bytes[0x2000]; } report;
typedef struct { uint8_t bytes[0x1400]; uint32_t size; } certificate;
typedef struct { int8_t rc; void *session; } created;
typedef void (*callback)(void);

static uint8_t nonce[32];
static int session;

created nscq_session_create(uint32_t flags) {
    created result = { flags == 1 ? CREATE : -128, &session };
    return result;
}

void nscq_session_destroy(void *opened) { (void)opened; }

int8_t nscq_session_set_input(void *opened, uint32_t flags, void *input, uint32_t size) {
    if (opened != &session || flags != 0 || size != 32) return -5;
    memcpy(nonce, input, 32);
    return INPUT;
}

int8_t nscq_uuid_to_label(const uuid *from, label *to, uint32_t flags) {
    (void)flags;
    snprintf(to->data, sizeof to->data, NAME, from->bytes[0]);
    return 0;
}

int8_t nscq_session_path_observe(void *opened, const char *path, callback call, void *data, uint32_t flags) {
    unsigned number = 0;
    char leaf[32];
    if (opened != &session || flags != 0) return -5;
    if (strcmp(path, "/drv/nvswitch/{device}/uuid") == 0) {
        for (uint8_t i = 0; i < COUNT; i++) {
            uuid device = { { i } };
            ((void (*)(const uuid *, int8_t, const uuid *, void *))call)(&device, ONE, &device, data);
        }
        return OBSERVE;
    }
    if (sscanf(path, "/SWX-%02X/config/%31s", &number, leaf) != 2 || number >= COUNT) return -2;
    uuid device = { { (uint8_t)number } };
    for (int i = 0; i < TIMES; i++) {
        if (strcmp(leaf, "pcie_mode") == 0) {
            ((void (*)(const uuid *, int8_t, int8_t, void *))call)(&device, 0, MODE, data);
        } else if (strcmp(leaf, "attestation_report") == 0) {
            report made = { 33 + SIZE, { 0 } };
            memcpy(made.bytes, nonce, 32);
            made.bytes[32] = (uint8_t)number;
            ((void (*)(const uuid *, int8_t, report, void *))call)(&device, ONE, made, data);
        } else if (strcmp(leaf, "certificate") == 0) {
            certificate made = { { 'c', 'h', 'a', 'i', 'n', (uint8_t)('0' + number) }, 6 + SIZE };
            ((void (*)(const uuid *, int8_t, certificate, void *))call)(&device, ONE, made, data);
        } else {
            return -1;
        }
    }
    return OBSERVE;
}
