/* handles.c - open handles in a ring. Must never know what they are for. */
#include "handles.h"

#include <stddef.h>

void handles_init(handles *all) {
    (void)pthread_mutex_init(&all->lock, NULL);
    all->first = (handle){&all->first, &all->first, NULL};
}

void handle_add(handles *all, handle *self, void (*free_fn)(handle *self)) {
    self->free_fn = free_fn;
    (void)pthread_mutex_lock(&all->lock);
    self->next = all->first.next;
    self->before = &all->first;
    self->next->before = self;
    all->first.next = self;
    (void)pthread_mutex_unlock(&all->lock);
}

void handle_free(handles *all, handle *self) {
    (void)pthread_mutex_lock(&all->lock);
    self->next->before = self->before;
    self->before->next = self->next;
    (void)pthread_mutex_unlock(&all->lock);
    self->free_fn(self);
}

void handles_free(handles *all) {
    while (all->first.next != &all->first) {
        handle_free(all, all->first.next);
    }
    (void)pthread_mutex_destroy(&all->lock);
}
