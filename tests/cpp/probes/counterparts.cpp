/* SPDX-License-Identifier: MIT */
/*
 * Each public function of mqshm.h and its counterpart in C++, which must compile. tests/cpp/counterparts.sh compares the list with
 * the header.
 */
#include <mqshm.hpp>

using namespace mqshm;

#define COUNTERPART(function, ...) static_assert(sizeof(&function) > 0 && sizeof(decltype((__VA_ARGS__, 0))) > 0)
#define LEFT_OUT(function, why) static_assert(sizeof(&function) > 0, why)

static Producer &p();
static Consumer &c();
static std::error_code &e();

COUNTERPART(mqshm_version, version());
COUNTERPART(mqshm_last_error, e().message());
COUNTERPART(mqshm_log_set, set_log(LogLevel::off, {}, e()));
COUNTERPART(mqshm_queue_create, create("", {}, e()));
COUNTERPART(mqshm_queue_evict, evict("", 0, e()));
COUNTERPART(mqshm_queue_remove, remove("", false, e()));
COUNTERPART(mqshm_queue_gc, gc("", e()));
COUNTERPART(mqshm_queue_stat, stat("", e()));
LEFT_OUT(mqshm_stat_free, "Stat frees itself");
LEFT_OUT(mqshm_consumer_device_fd, "for mqshm_uring.h, which is C");
LEFT_OUT(mqshm_producer_device_fd, "for mqshm_uring.h, which is C");
COUNTERPART(mqshm_queue_list, static_cast<int (*)(void (&)(const mqshm_stat &), std::error_code &)>(&list));
COUNTERPART(mqshm_producer_open, Producer::open("", nullptr, {}, e()));
COUNTERPART(mqshm_producer_push, p().push("", forever, e()));
COUNTERPART(mqshm_producer_pushv, p().push_pieces({}, forever, e()));
COUNTERPART(mqshm_producer_push_batch, p().push_batch({}, forever, e()));
COUNTERPART(mqshm_producer_reserve, p().reserve(0, forever, e()));
COUNTERPART(mqshm_producer_commit, Reservation().commit(0, e()));
COUNTERPART(mqshm_producer_abort, Reservation().abort());
COUNTERPART(mqshm_producer_set_timestamp, p().set_timestamp(0, e()));
COUNTERPART(mqshm_producer_wait_consumers, p().wait_consumers(0, false, forever, e()));
COUNTERPART(mqshm_producer_wait_drained, p().wait_drained(forever, e()));
COUNTERPART(mqshm_producer_info, p().info(e()));
COUNTERPART(mqshm_producer_close, p().close());
COUNTERPART(mqshm_producer_fail, p().fail());
COUNTERPART(mqshm_producer_cancel, p().cancel());
COUNTERPART(mqshm_producer_fd, p().fd(e()));
COUNTERPART(mqshm_consumer_open, Consumer::open("", nullptr, {}, e()));
COUNTERPART(mqshm_consumer_pop, c().pop(Buffer(nullptr, 0), forever, e()));
COUNTERPART(mqshm_consumer_pop_batch, c().pop_batch({}, Buffer(nullptr, 0), 1, forever, e()));
COUNTERPART(mqshm_consumer_peek, c().peek(forever, e()));
COUNTERPART(mqshm_consumer_release, c().release(0, e()));
COUNTERPART(mqshm_consumer_lag, c().lag(e()));
COUNTERPART(mqshm_consumer_missed, c().missed(e()));
COUNTERPART(mqshm_consumer_id, c().id(e()));
COUNTERPART(mqshm_consumer_info, c().info(e()));
COUNTERPART(mqshm_consumer_demoted, c().demoted(e()));
COUNTERPART(mqshm_consumer_resumed, c().resumed(e()));
COUNTERPART(mqshm_consumer_cancel, c().cancel());
COUNTERPART(mqshm_consumer_close, c().close());
COUNTERPART(mqshm_consumer_leave, c().leave());
COUNTERPART(mqshm_consumer_fd, c().fd(e()));
COUNTERPART(mqshm_wait_any, wait_any({}, forever, e()));
