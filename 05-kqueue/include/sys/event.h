/*
 * kqueue(2) for C programs on Linux that are linked with libkqueue.so of this crate: the same struct, constants and
 * calls as in src/sys/linux/abi.rs. What the stand-in does not support has no name here, so that a program that needs it
 * does not compile.
 */
#ifndef KQUEUE_SYS_EVENT_H
#define KQUEUE_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

struct kevent {
    uintptr_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t fflags;
    int64_t data;
    void *udata;
};

/* Evaluates each argument once. */
#define EV_SET(kev, the_ident, the_filter, the_flags, the_fflags, the_data, the_udata) \
    do {                                                                               \
        struct kevent *ev_set_ = (kev);                                                \
        ev_set_->ident = (uintptr_t)(the_ident);                                       \
        ev_set_->filter = (int16_t)(the_filter);                                       \
        ev_set_->flags = (uint16_t)(the_flags);                                        \
        ev_set_->fflags = (uint32_t)(the_fflags);                                      \
        ev_set_->data = (int64_t)(the_data);                                           \
        ev_set_->udata = (void *)(the_udata);                                          \
    } while (0)

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_VNODE (-4)
#define EVFILT_PROC (-5)
#define EVFILT_SIGNAL (-6)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)

/* What a change does. */
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
/* How the knote reports. */
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
/* What an event says. */
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#define NOTE_LOWAT 0x0001U /* READ */

#define NOTE_DELETE 0x0001U /* VNODE */
#define NOTE_WRITE 0x0002U
#define NOTE_EXTEND 0x0004U
#define NOTE_ATTRIB 0x0008U
#define NOTE_LINK 0x0010U
#define NOTE_RENAME 0x0020U
#define NOTE_TRUNCATE 0x0080U

#define NOTE_EXIT 0x80000000U /* PROC */

#define NOTE_MSECONDS 0U /* TIMER: the unit when none is named */
#define NOTE_SECONDS 0x0001U
#define NOTE_USECONDS 0x0002U
#define NOTE_NSECONDS 0x0004U
#define NOTE_ABSOLUTE 0x0008U
#define NOTE_ABSTIME NOTE_ABSOLUTE

#define NOTE_FFNOP 0U /* USER */
#define NOTE_FFAND 0x40000000U
#define NOTE_FFOR 0x80000000U
#define NOTE_FFCOPY 0xc0000000U
#define NOTE_FFCTRLMASK 0xc0000000U
#define NOTE_FFLAGSMASK 0x00ffffffU
#define NOTE_TRIGGER 0x01000000U

#ifdef __cplusplus
extern "C" {
#endif

int kqueue(void);
int kevent(int kq, const struct kevent *changelist, int nchanges, struct kevent *eventlist, int nevents,
           const struct timespec *timeout);

#ifdef __cplusplus
}
#endif

#endif
