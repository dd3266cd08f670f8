/*
 * service.h - what a service manager is told.
 */
#ifndef TOON_SERVICE_H
#define TOON_SERVICE_H

/*
 * Sends a line, such as "READY=1", to the socket that $NOTIFY_SOCKET names, as
 * sd_notify(3) says. Without that variable, or if nobody listens, nothing
 * happens.
 */
void service_notify(const char *line);

#endif
