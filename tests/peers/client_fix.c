/*
 * Preloaded into SyncEvolution's command line client of Debian 12, which otherwise dies of SIGSEGV as it sends its first
 * message: its libcurl transport passes captureless lambdas through the variable arguments of curl_easy_setopt. As
 * objects of an empty class they occupy no argument at all, and libcurl takes whatever was in the register for the
 * address of the read and write callbacks.
 *
 * This curl_easy_setopt stands before libcurl's. For those two options it ignores the argument that is not there and
 * gives callbacks that do what the lambdas would have done: call the transport, whose address libcurl hands them as user
 * data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>

/* <curl/curl.h>: CURLOPTTYPE_FUNCTIONPOINT plus the option's number. */
#define WRITE_FUNCTION (20000 + 11)
#define READ_FUNCTION (20000 + 12)

/* SyncEvo::CurlTransportAgent::writeData(void *, size_t) and readData(void *, size_t). Weak, so that env, which starts
 * the client with this preloaded, can load it, too. */
__attribute__((weak)) size_t transport_write(void *transport, void *data, size_t length)
    __asm__("_ZN7SyncEvo18CurlTransportAgent9writeDataEPvm");
__attribute__((weak)) size_t transport_read(void *transport, void *data, size_t length)
    __asm__("_ZN7SyncEvo18CurlTransportAgent8readDataEPvm");

static size_t on_write(void *data, size_t size, size_t count, void *transport)
{
    return transport_write(transport, data, size * count);
}

static size_t on_read(void *data, size_t size, size_t count, void *transport)
{
    return transport_read(transport, data, size * count);
}

int curl_easy_setopt(void *handle, int option, ...)
{
    int (*libcurl_setopt)(void *, int, ...) = dlsym(RTLD_NEXT, "curl_easy_setopt");

    if (option == WRITE_FUNCTION)
        return libcurl_setopt(handle, option, on_write);
    if (option == READ_FUNCTION)
        return libcurl_setopt(handle, option, on_read);

    va_list rest;
    va_start(rest, option);
    void *value = va_arg(rest, void *);
    va_end(rest);
    return libcurl_setopt(handle, option, value);
}
