/* SPDX-License-Identifier: MIT */
/*
 * mqshm in C++17: the functions of mqshm.h as move-only classes that close themselves. Header-only; link with -lmqshm.
 *
 * Errors       What is called often comes twice. With an std::error_code last it is noexcept and says all there. Without,
 *              it throws mqshm::Error, but time that ran out (-EAGAIN, -ETIMEDOUT) is no exception: false, or an empty
 *              result. -fno-exceptions leaves the functions with an error_code; -fno-rtti is fine.
 *              An error_code's value is the positive errno value and compares with std::errc; its message() is the
 *              sentence of mqshm_last_error() in the thread where it came up until that thread's next failure, later
 *              general words. Error::what() keeps the sentence.
 * Timeouts     any std::chrono::duration, rounded up to ms; mqshm::forever, mqshm::no_wait. A negative one, such as
 *              `deadline - now` may be, doesn't wait; one of more than 24 days waits for ever.
 * Threads      as in mqshm.h: an object is used by one thread at a time, different ones by different threads. cancel()
 * signals,     may be called from anywhere. An object that was moved from may be assigned to, closed or destroyed, no more.
 * fork         In a child its parent's objects give std::errc::no_child_process, and destroying them does no harm.
 * Lifetime     What points into the ring or to a handle (Reservation, Messages, WaitItem, descriptors, and the Message
 *              of peek) must not outlive its Producer or Consumer; moving that one is fine.
 *
 * multiqueue.hpp, included below, has namespace multiqueue: the interface of an older library.
 */
#ifndef MQSHM_HPP
#define MQSHM_HPP

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "mqshm.h"

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define MQSHM_HPP_EXCEPTIONS 1
#else
#define MQSHM_HPP_EXCEPTIONS 0
#endif

namespace mqshm {

/* ---- errors ----------------------------------------------------------------------------------------------- */

namespace detail {

/* The errno value that mqshm_last_error() speaks of in this thread, 0: none. */
inline int &last_value() noexcept
{
	static thread_local int value = 0;
	return value;
}

class Category final : public std::error_category {
public:
	const char *name() const noexcept override { return "mqshm"; }

	std::string message(int value) const override
	{
		if (value != 0 && value == last_value() && *mqshm_last_error() != '\0')
			return mqshm_last_error();
		switch (value) {
		case ESHUTDOWN: return "end of stream: the producer closed";
		case EOWNERDEAD: return "end of stream: the producer died";
		case ECONNABORTED: return "this consumer was evicted";
		case ESTALE: return "this handle lost its role";
		case EPROTONOSUPPORT: return "made by another version";
		case EBADMSG: return "the shared memory is damaged, or not a queue";
		case ECHILD: return "the handle belongs to a parent process";
		default: return std::generic_category().message(value);
		}
	}

	std::error_condition default_error_condition(int value) const noexcept override
	{
		return {value, std::generic_category()};
	}
};

} // namespace detail

/* The category of this library's error codes. Values are positive errno values. Any thread, any time. */
inline const std::error_category &category() noexcept
{
	static const detail::Category instance;
	return instance;
}

namespace detail {

/* From what a C function returned: an error_code, clear when rc >= 0. */
inline std::error_code code(std::int64_t rc) noexcept
{
	if (rc >= 0)
		return {};
	if (rc != -EAGAIN) /* it has no sentence, and leaves the one before */
		last_value() = static_cast<int>(-rc);
	return {static_cast<int>(-rc), category()};
}

inline bool ran_out(const std::error_code &error) noexcept
{
	return error.category() == category() && (error.value() == EAGAIN || error.value() == ETIMEDOUT);
}

} // namespace detail

#if MQSHM_HPP_EXCEPTIONS
/* What is thrown: code() compares with std::errc, what() is the sentence of mqshm_last_error(). */
class Error : public std::system_error {
public:
	explicit Error(std::error_code error) : std::system_error(error) {}
	Error(int value, const std::string &sentence) : std::system_error(value, category()), sentence_(sentence) {}

	const char *what() const noexcept override
	{
		return sentence_.empty() ? std::system_error::what() : sentence_.c_str();
	}

private:
	std::string sentence_;
};

namespace detail {

inline void must(const std::error_code &error)
{
	if (error)
		throw Error(error);
}

/* True: done; false: the time ran out. */
inline bool done(const std::error_code &error)
{
	if (!error)
		return true;
	if (!ran_out(error))
		throw Error(error);
	return false;
}

} // namespace detail
#endif

/* ---- arguments -------------------------------------------------------------------------------------------- */

/* How long to wait. Implicit from any duration. */
class Timeout {
public:
	template <class Rep, class Period>
	constexpr Timeout(std::chrono::duration<Rep, Period> time) noexcept : ms_(from(time))
	{
	}
	static constexpr Timeout infinite() noexcept { return Timeout(-1); }

	/* As C takes it: milliseconds, or -1 for ever. */
	constexpr int ms() const noexcept { return ms_; }

private:
	explicit constexpr Timeout(int ms) noexcept : ms_(ms) {}

	template <class Rep, class Period>
	static constexpr int from(std::chrono::duration<Rep, Period> time) noexcept
	{
		using seconds = std::chrono::duration<long double>;
		if (!(time > time.zero())) /* not a number, too */
			return 0;
		if (seconds(time) > seconds(std::numeric_limits<int>::max() / 1000))
			return -1;
		auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time);
		return static_cast<int>(ms.count()) + (ms < time ? 1 : 0);
	}

	int ms_;
};

inline constexpr Timeout forever = Timeout::infinite();
inline constexpr Timeout no_wait = std::chrono::milliseconds(0);

/* A text that C can read: a literal, char pointer or std::string, valid during the call. */
class CString {
public:
	CString(const char *text) noexcept : text_(text) {}
	CString(const std::string &text) noexcept : text_(text.c_str()) {}
	const char *c_str() const noexcept { return text_; }

private:
	const char *text_;
};

/*
 * count elements that lie in a row, and belong to others. Always this one, also where there is std::span, so that the
 * classes below are the same in every part of a program; the two convert to each other.
 */
template <class T>
class span {
public:
	using element_type = T;
	using value_type = std::remove_cv_t<T>;
	using size_type = std::size_t;
	using iterator = T *;

	constexpr span() noexcept = default;
	constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
	template <std::size_t N>
	constexpr span(T (&array)[N]) noexcept : data_(array), size_(N)
	{
	}
	/* Any container with data() and size() whose elements are T, but for const. */
	template <class C, class E = std::remove_pointer_t<decltype(std::declval<C &>().data())>,
		  class = decltype(std::declval<C &>().size()),
		  class = std::enable_if_t<std::is_convertible_v<E (*)[], T (*)[]> &&
					   !std::is_same_v<std::remove_cv_t<std::remove_reference_t<C>>, span>>>
	constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size())
	{
	}

	constexpr T *data() const noexcept { return data_; }
	constexpr std::size_t size() const noexcept { return size_; }
	constexpr bool empty() const noexcept { return size_ == 0; }
	constexpr T *begin() const noexcept { return data_; }
	constexpr T *end() const noexcept { return data_ + size_; }
	constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }
	/* The first count; all, if there are fewer. */
	constexpr span first(std::size_t count) const noexcept { return {data_, count < size_ ? count : size_}; }

private:
	T *data_ = nullptr;
	std::size_t size_ = 0;
};

namespace detail {

template <class T>
inline constexpr bool plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>;

} // namespace detail

/*
 * Bytes to be pushed. Implicit from strings, string_views, literals (without their NUL), and from arrays and containers of
 * anything trivially copyable: push(samples), push("text").
 */
class Bytes : public span<const std::byte> {
public:
	constexpr Bytes() noexcept = default;
	Bytes(const void *data, std::size_t size) noexcept : span(static_cast<const std::byte *>(data), size) {}
	Bytes(const char *text) noexcept : Bytes(text, text ? std::strlen(text) : 0) {}
	template <class T, std::size_t N, class = std::enable_if_t<detail::plain<T> && !std::is_same_v<T, char>>>
	Bytes(const T (&array)[N]) noexcept : Bytes(array, sizeof array)
	{
	}
	template <class C, class E = std::remove_pointer_t<decltype(std::declval<const C &>().data())>,
		  class = std::enable_if_t<detail::plain<std::remove_cv_t<E>> && !std::is_base_of_v<Bytes, C>>>
	Bytes(const C &container) noexcept : Bytes(container.data(), container.size() * sizeof(E))
	{
	}
};

/* The bytes of one object: push(bytes_of(sample)). */
template <class T>
Bytes bytes_of(const T &object) noexcept
{
	static_assert(detail::plain<T>, "bytes of this type mean nothing to another process");
	return {&object, sizeof object};
}

/* Room for what is popped: implicit from arrays and containers of anything trivially copyable, as long as size() says. */
class Buffer : public span<std::byte> {
public:
	Buffer(void *data, std::size_t size) noexcept : span(static_cast<std::byte *>(data), size) {}
	template <class T, std::size_t N, class = std::enable_if_t<detail::plain<T> && !std::is_const_v<T>>>
	Buffer(T (&array)[N]) noexcept : Buffer(array, sizeof array)
	{
	}
	template <class C, class E = std::remove_pointer_t<decltype(std::declval<C &>().data())>,
		  class = std::enable_if_t<detail::plain<E> && !std::is_const_v<E> &&
					   !std::is_base_of_v<Buffer, std::remove_cv_t<std::remove_reference_t<C>>>>>
	Buffer(C &&container) noexcept : Buffer(container.data(), container.size() * sizeof(E))
	{
	}
};

/* ---- queues ----------------------------------------------------------------------------------------------- */

enum class SlowPolicy : std::uint32_t { block = MQSHM_SLOW_BLOCK, evict = MQSHM_SLOW_EVICT, demote = MQSHM_SLOW_DEMOTE };

/*
 * What a queue is; see struct mqshm_queue_options for ranges and defaults (0 means the default). An aggregate with
 * functions that can be chained: QueueOptions{}.nodes(64).block(4096).shared(), or in C++20 {.node_count = 64}.
 */
struct QueueOptions {
	std::uint32_t node_count = 0;	 /* most messages outstanding */
	std::uint32_t block_size = 0;	 /* largest message in bytes */
	std::uint32_t max_consumers = 0;
	std::uint32_t align = 0;	 /* of payloads in bytes */
	std::uint32_t flags = 0;	 /* MQSHM_SHARED ... */
	std::uint32_t mode = 0;		 /* as for chmod */
	Bytes metadata = {};		 /* belongs to the caller */
	SlowPolicy slow_policy = SlowPolicy::block;
	std::chrono::milliseconds slow_after = std::chrono::milliseconds(0); /* with evict and demote */

	QueueOptions &nodes(std::uint32_t count) noexcept { return node_count = count, *this; }
	QueueOptions &block(std::uint32_t bytes) noexcept { return block_size = bytes, *this; }
	QueueOptions &consumers(std::uint32_t most) noexcept { return max_consumers = most, *this; }
	QueueOptions &aligned(std::uint32_t bytes) noexcept { return align = bytes, *this; }
	QueueOptions &rights(std::uint32_t bits) noexcept { return mode = bits, *this; }
	QueueOptions &with(std::uint32_t more_flags) noexcept { return flags |= more_flags, *this; }
	QueueOptions &shared() noexcept { return with(MQSHM_SHARED); }
	QueueOptions &overwrite() noexcept { return with(MQSHM_OVERWRITE); }
	QueueOptions &hold() noexcept { return with(MQSHM_HOLD); }
	QueueOptions &persistent() noexcept { return with(MQSHM_PERSISTENT); }
	QueueOptions &described(Bytes text) noexcept { return metadata = text, *this; }
	QueueOptions &slow(SlowPolicy policy, std::chrono::milliseconds after) noexcept
	{
		return slow_policy = policy, slow_after = after, *this;
	}

	/* As C takes it; valid while the metadata is. */
	mqshm_queue_options native() const noexcept
	{
		mqshm_queue_options o{};
		auto ms = slow_after.count();
		o.size = sizeof o;
		o.node_count = node_count;
		o.block_size = block_size;
		o.max_consumers = max_consumers;
		o.align = align;
		o.flags = flags;
		o.mode = mode;
		o.metadata = metadata.empty() ? nullptr : metadata.data();
		o.metadata_size = metadata.size();
		o.slow_policy = static_cast<std::uint32_t>(slow_policy);
		o.slow_ms = ms > 0 && ms <= static_cast<std::int64_t>(MQSHM_SLOW_MS_MAX) ? static_cast<std::uint32_t>(ms)
			    : ms == 0							 ? 0
											 : MQSHM_SLOW_MS_MAX + 1; /* refused */
		return o;
	}
};

/* The version of the library that is linked. Any thread, any time. */
inline const char *version() noexcept
{
	return mqshm_version();
}

/* Create a queue, or check that the existing one matches: mqshm_queue_create(). True: created, false: it was there. */
inline bool create(CString name, const QueueOptions &options, std::error_code &error) noexcept
{
	mqshm_queue_options native = options.native();
	int rc = mqshm_queue_create(name.c_str(), &native);
	error = detail::code(rc);
	return rc == 0;
}

/* Remove a queue; force: although it is in use, see mqshm_queue_remove(). */
inline void remove(CString name, bool force, std::error_code &error) noexcept
{
	error = detail::code(mqshm_queue_remove(name.c_str(), force ? MQSHM_FORCE : 0));
}

/* End the role of the consumer with this id (as stat and Consumer::id() show it), see mqshm_queue_evict(). */
inline void evict(CString name, std::uint32_t consumer_id, std::error_code &error) noexcept
{
	error = detail::code(mqshm_queue_evict(name.c_str(), consumer_id));
}

/* One queue at one moment: a struct mqshm_stat that frees itself. */
class Stat {
public:
	Stat() noexcept = default;
	explicit Stat(mqshm_stat *stat) noexcept : stat_(stat) {}
	const mqshm_stat *operator->() const noexcept { return stat_.get(); }
	const mqshm_stat &operator*() const noexcept { return *stat_; }
	explicit operator bool() const noexcept { return stat_ != nullptr; }
	span<const mqshm_participant_stat> producers() const noexcept { return {stat_->producers, stat_->producer_count}; }
	span<const mqshm_participant_stat> consumers() const noexcept { return {stat_->consumers, stat_->consumer_count}; }
	std::string_view metadata() const noexcept
	{
		return {reinterpret_cast<const char *>(stat_->metadata), stat_->metadata_size};
	}

private:
	struct Free {
		void operator()(mqshm_stat *stat) const noexcept { mqshm_stat_free(stat); }
	};
	std::unique_ptr<mqshm_stat, Free> stat_;
};

/* Look at one queue without becoming a user of it. Empty on error. */
inline Stat stat(CString name, std::error_code &error) noexcept
{
	mqshm_stat *found = nullptr;
	error = detail::code(mqshm_queue_stat(name.c_str(), &found));
	return Stat(error ? nullptr : found);
}

namespace detail {

/* A function object that C calls back; what it throws is kept until C has returned. */
template <class F>
struct Callback {
	F &f;
#if MQSHM_HPP_EXCEPTIONS
	std::exception_ptr thrown{};

	template <class... Args>
	void call(bool &more, Args &&...args) noexcept
	{
		if (thrown)
			return;
		try {
			invoke(more, args...);
		} catch (...) {
			thrown = std::current_exception();
			more = false;
		}
	}
	void rethrow() const
	{
		if (thrown)
			std::rethrow_exception(thrown);
	}
#else
	template <class... Args>
	void call(bool &more, Args &&...args) noexcept
	{
		invoke(more, args...);
	}
	void rethrow() const noexcept {}
#endif
private:
	template <class... Args>
	void invoke(bool &more, Args &&...args)
	{
		if constexpr (std::is_same_v<std::invoke_result_t<F &, Args &...>, bool>)
			more = f(args...);
		else
			f(args...);
	}
};

} // namespace detail

/*
 * Look at all queues, in order of name. each(const mqshm_stat &) gets every one, damaged ones with .error set; false ends the
 * walk, a void one sees all. Returns how many it was called for. What it throws comes out here.
 */
template <class F>
int list(F &&each, std::error_code &error)
{
	struct State {
		detail::Callback<std::remove_reference_t<F>> callback;
		int seen;
	} state{{each}, 0};
	int rc = mqshm_queue_list(
		[](const mqshm_stat *found, void *arg) {
			auto *s = static_cast<State *>(arg);
			bool more = true;
			s->seen++;
			s->callback.call(more, *found);
			return more ? 0 : 1;
		},
		&state);
	state.callback.rethrow();
	error = detail::code(rc);
	return state.seen;
}

/*
 * Clean up after processes that died, see mqshm_queue_gc(). name nullptr: all queues. report(string_view name, string_view what)
 * is told of each thing done. Returns how many queues were removed.
 */
template <class F>
int gc(const char *name, F &&report, std::error_code &error)
{
	detail::Callback<std::remove_reference_t<F>> callback{report};
	int rc = mqshm_queue_gc(
		name,
		[](const char *queue, const char *what, void *arg) {
			bool more = true;
			static_cast<decltype(callback) *>(arg)->call(more, std::string_view(queue), std::string_view(what));
		},
		&callback);
	callback.rethrow();
	error = detail::code(rc);
	return rc < 0 ? 0 : rc;
}
inline int gc(const char *name, std::error_code &error) noexcept
{
	int rc = mqshm_queue_gc(name, nullptr, nullptr);
	error = detail::code(rc);
	return rc < 0 ? 0 : rc;
}

#if MQSHM_HPP_EXCEPTIONS
inline bool create(CString name, const QueueOptions &options = {})
{
	std::error_code error;
	bool created = create(name, options, error);
	detail::must(error);
	return created;
}
inline void remove(CString name, bool force = false)
{
	std::error_code error;
	remove(name, force, error);
	detail::must(error);
}
inline void evict(CString name, std::uint32_t consumer_id)
{
	std::error_code error;
	evict(name, consumer_id, error);
	detail::must(error);
}
inline Stat stat(CString name)
{
	std::error_code error;
	Stat found = stat(name, error);
	detail::must(error);
	return found;
}
template <class F>
int list(F &&each)
{
	std::error_code error;
	int count = list(each, error);
	detail::must(error);
	return count;
}
inline int gc(const char *name = nullptr)
{
	std::error_code error;
	int count = gc(name, error);
	detail::must(error);
	return count;
}
#endif

/* ---- log -------------------------------------------------------------------------------------------------- */

enum class LogLevel : int {
	off = MQSHM_LOG_OFF,
	error = MQSHM_LOG_ERROR,
	warning = MQSHM_LOG_WARNING,
	info = MQSHM_LOG_INFO,
	debug = MQSHM_LOG_DEBUG
};

/* (level, queue, what happened); see mqshm_log_set() for what it may do. If it throws, the program ends. */
using LogCallback = std::function<void(LogLevel level, std::string_view queue, std::string_view text)>;

namespace detail {

struct Log {
	std::mutex mutex;
	std::unique_ptr<LogCallback> callback;

	static Log &the()
	{
		static Log *log = new Log; /* for ever: threads of the library may log while the program ends */
		return *log;
	}
	static bool &inside() noexcept
	{
		static thread_local bool value = false;
		return value;
	}
	static void tell(int level, const char *queue, const char *text, void *arg) noexcept
	{
		bool before = std::exchange(inside(), true);
		(*static_cast<LogCallback *>(arg))(static_cast<LogLevel>(level), queue, text);
		inside() = before;
	}
};

} // namespace detail

/*
 * From now on callback is told what happens to queues; an empty one: lines to stderr. Any thread, but not from a callback
 * (std::errc::resource_deadlock_would_occur); waits for a former callback that is running.
 */
inline void set_log(LogLevel level, LogCallback callback, std::error_code &error)
{
	std::unique_ptr<LogCallback> next;
	if (detail::Log::inside()) { /* before the mutex: who holds it may be waiting for us */
		error = {EDEADLK, category()};
		return;
	}
	if (callback)
		next = std::make_unique<LogCallback>(std::move(callback));
	auto &log = detail::Log::the();
	std::lock_guard<std::mutex> lock(log.mutex);
	error = detail::code(mqshm_log_set(static_cast<int>(level), next ? detail::Log::tell : nullptr, next.get()));
	if (!error)
		log.callback = std::move(next); /* the former one has ended */
}
#if MQSHM_HPP_EXCEPTIONS
inline void set_log(LogLevel level, LogCallback callback = {})
{
	std::error_code error;
	set_log(level, std::move(callback), error);
	detail::must(error);
}
#endif

/* ---- messages --------------------------------------------------------------------------------------------- */

/* A message: data, size, sequence and timestamp_ns as in C, and views of the payload, which lies where it was popped or peeked. */
struct Message : mqshm_message {
	Message() noexcept : mqshm_message{} {}

	span<const std::byte> bytes() const noexcept { return {static_cast<const std::byte *>(data), size}; }
	std::string_view text() const noexcept { return {static_cast<const char *>(data), size}; }
	/* As many whole T as fit in it. Payloads are aligned to 8 bytes in the ring and in batches. */
	template <class T>
	span<const T> as() const noexcept
	{
		static_assert(detail::plain<T> && alignof(T) <= 8);
		return {static_cast<const T *>(data), size / sizeof(T)};
	}
	/* timestamp_ns as a time: right unless the queue's timestamps are of another kind. */
	std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds> time() const noexcept
	{
		return std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>(
			std::chrono::nanoseconds(static_cast<std::int64_t>(timestamp_ns)));
	}
};
static_assert(sizeof(Message) == sizeof(mqshm_message), "arrays of one are arrays of the other");

/* The unchanging facts of an open queue. */
struct Info : mqshm_queue_info {
	Info() noexcept : mqshm_queue_info{} {}
	std::string_view queue() const noexcept { return name; }
	std::string_view described() const noexcept { return {reinterpret_cast<const char *>(metadata), metadata_size}; }
};

/* ---- producers -------------------------------------------------------------------------------------------- */

struct ProducerOptions {
	std::uint32_t flags = 0;  /* MQSHM_PREFAULT, MQSHM_MLOCK */
	std::int32_t spin_us = 0; /* as in struct mqshm_producer_options */
	/* Told of each consumer that this producer evicts or demotes, in its thread, in a push. It must not use this producer,
	   nor throw: then the program ends. */
	std::function<void(const mqshm_slow &)> slow = {};
};

/*
 * Room in the ring, to be filled in place: commit() publishes it, destroying it (an exception, an early return) gives it back.
 * One at a time for a producer. Empty (false) when there was no room in the time.
 */
class Reservation {
public:
	Reservation() noexcept = default;
	Reservation(Reservation &&other) noexcept
	    : producer_(std::exchange(other.producer_, nullptr)), room_(std::exchange(other.room_, {}))
	{
	}
	Reservation &operator=(Reservation &&other) noexcept
	{
		if (this != &other) {
			abort();
			producer_ = std::exchange(other.producer_, nullptr);
			room_ = std::exchange(other.room_, {});
		}
		return *this;
	}
	~Reservation() { abort(); }

	explicit operator bool() const noexcept { return producer_ != nullptr; }
	/* Where to write; what stands there is of no meaning. */
	span<std::byte> bytes() const noexcept { return room_; }
	template <class T>
	span<T> as() const noexcept
	{
		static_assert(detail::plain<T> && alignof(T) <= 8);
		return {static_cast<T *>(static_cast<void *>(room_.data())), room_.size() / sizeof(T)};
	}

	/* Publish the first used bytes. After std::errc::invalid_argument (used is more than was reserved) the room is still there. */
	void commit(std::size_t used, std::error_code &error) noexcept
	{
		int rc = producer_ ? mqshm_producer_commit(producer_, used) : -EINVAL;
		error = detail::code(rc);
		if (!producer_) /* C was not asked, and has no sentence for it */
			detail::last_value() = 0;
		if (rc != -EINVAL)
			forget();
	}
#if MQSHM_HPP_EXCEPTIONS
	void commit() { commit(room_.size()); }
	void commit(std::size_t used)
	{
		std::error_code error;
		commit(used, error);
		detail::must(error);
	}
#endif
	/* Give the room back. No harm if there is none. */
	void abort() noexcept
	{
		if (producer_)
			(void)mqshm_producer_abort(producer_);
		forget();
	}

private:
	friend class Producer;
	Reservation(mqshm_producer *producer, span<std::byte> room) noexcept : producer_(producer), room_(room) {}
	void forget() noexcept
	{
		producer_ = nullptr;
		room_ = {};
	}
	mqshm_producer *producer_ = nullptr;
	span<std::byte> room_;
};

/*
 * A queue's producer. Its destructor closes it: consumers drain and get the end of the stream; but when an exception is what
 * destroys it, it fails (mqshm_producer_fail()), so that they don't take the half for the whole.
 */
class Producer {
public:
	Producer() noexcept = default;
	Producer(Producer &&other) noexcept
	    : handle_(std::exchange(other.handle_, nullptr)), slow_(std::move(other.slow_))
	{
	}
	Producer &operator=(Producer &&other) noexcept
	{
		if (this != &other) {
			close();
			handle_ = std::exchange(other.handle_, nullptr);
			slow_ = std::move(other.slow_);
			exceptions_ = std::uncaught_exceptions();
		}
		return *this;
	}
	~Producer()
	{
		if (std::uncaught_exceptions() > exceptions_)
			fail();
		else
			close();
	}

	/*
	 * Attach. queue nullptr: it must exist; else it is created when missing and must match when not. Errors as for
	 * mqshm_producer_open(); the Producer is empty then.
	 */
	static Producer open(CString name, const QueueOptions *queue, ProducerOptions options, std::error_code &error) noexcept
	{
		Producer p;
		mqshm_queue_options geometry{};
		mqshm_producer_options native{};
		native.size = sizeof native;
		native.flags = options.flags;
		native.spin_us = options.spin_us;
		if (options.slow) {
			p.slow_.reset(new (std::nothrow) SlowCallback(std::move(options.slow)));
			if (!p.slow_) {
				error = {ENOMEM, category()};
				return p;
			}
			native.slow = [](const mqshm_slow *slow, void *arg) noexcept { (*static_cast<SlowCallback *>(arg))(*slow); };
			native.slow_arg = p.slow_.get();
		}
		if (queue)
			geometry = queue->native();
		error = detail::code(mqshm_producer_open(&p.handle_, name.c_str(), queue ? &geometry : nullptr, &native));
		return p;
	}
#if MQSHM_HPP_EXCEPTIONS
	/* The queue must exist. */
	explicit Producer(CString name, ProducerOptions options = {})
	{
		std::error_code error;
		*this = open(name, nullptr, std::move(options), error);
		detail::must(error);
	}
	/* It is created when missing. */
	Producer(CString name, const QueueOptions &queue, ProducerOptions options = {})
	{
		std::error_code error;
		*this = open(name, &queue, std::move(options), error);
		detail::must(error);
	}
#endif

	explicit operator bool() const noexcept { return handle_ != nullptr; }
	/* For functions of mqshm.h; still ours. */
	mqshm_producer *native() const noexcept { return handle_; }

	/* Push one message, copied. True: pushed. Errors as for mqshm_producer_push(). */
	bool push(Bytes message, Timeout timeout, std::error_code &error) noexcept
	{
		int rc = mqshm_producer_push(handle_, message.data(), message.size(), timeout.ms());
		if (rc == 0) {
			error.clear();
			return true;
		}
		error = detail::code(rc);
		return false;
	}
	/* One message that lies in pieces, at most 1024. */
	bool push_pieces(span<const iovec> pieces, Timeout timeout, std::error_code &error) noexcept
	{
		int count = pieces.size() > 1024 ? 1025 : static_cast<int>(pieces.size()); /* refused */
		error = detail::code(mqshm_producer_pushv(handle_, pieces.data(), count, timeout.ms()));
		return !error;
	}
	/* Many messages, one each element, published together where they fit. How many; fewer when time ran out or one failed. */
	std::size_t push_batch(span<const iovec> messages, Timeout timeout, std::error_code &error) noexcept
	{
		int rc = mqshm_producer_push_batch(handle_, messages.data(), messages.size(), timeout.ms());
		error = detail::code(rc);
		return rc < 0 ? 0 : static_cast<std::size_t>(rc);
	}
	/* Zero copy: room for up to size bytes. Errors as for push; EDEADLK while another is held. */
	Reservation reserve(std::size_t size, Timeout timeout, std::error_code &error) noexcept
	{
		void *data = nullptr;
		error = detail::code(mqshm_producer_reserve(handle_, size, &data, timeout.ms()));
		return error ? Reservation() : Reservation(handle_, {static_cast<std::byte *>(data), size});
	}
	/* The timestamp of all messages from now on, in ns; the queue has MQSHM_TIMESTAMP_OWN. */
	void set_timestamp(std::uint64_t ns, std::error_code &error) noexcept
	{
		error = detail::code(mqshm_producer_set_timestamp(handle_, ns));
	}
	/* Wait until count consumers are attached; ever: until so many have ever been. */
	bool wait_consumers(unsigned count, bool ever, Timeout timeout, std::error_code &error) noexcept
	{
		error = detail::code(mqshm_producer_wait_consumers(handle_, count, ever ? MQSHM_EVER : 0, timeout.ms()));
		return !error;
	}
	/* Wait until all that are attached have read everything. */
	bool wait_drained(Timeout timeout, std::error_code &error) noexcept
	{
		error = detail::code(mqshm_producer_wait_drained(handle_, timeout.ms()));
		return !error;
	}
	Info info(std::error_code &error) const noexcept
	{
		Info found;
		error = detail::code(mqshm_producer_info(handle_, &found));
		return found;
	}
	/* A descriptor to poll for POLLIN: readable until a push finds no room. See mqshm_producer_fd(). -1 on error. */
	int fd(std::error_code &error) noexcept
	{
		int rc = mqshm_producer_fd(handle_);
		error = detail::code(rc);
		return rc < 0 ? -1 : rc;
	}
	/* The wait that goes on, or else the next one, gives std::errc::operation_canceled. Any thread, signal handlers. */
	void cancel() const noexcept { mqshm_producer_cancel(handle_); }
	/* Leave; consumers drain and get the end of the stream. No harm if it is closed. */
	void close() noexcept
	{
		(void)mqshm_producer_close(std::exchange(handle_, nullptr));
		slow_.reset();
	}
	/* Leave in the middle: they get std::errc::owner_dead. */
	void fail() noexcept
	{
		if (handle_)
			(void)mqshm_producer_fail(std::exchange(handle_, nullptr));
		slow_.reset();
	}

#if MQSHM_HPP_EXCEPTIONS
	/* The same, throwing. False, 0 or empty: the time ran out. */
	bool push(Bytes message, Timeout timeout = forever)
	{
		std::error_code error;
		return push(message, timeout, error) || detail::done(error);
	}
	bool push_pieces(span<const iovec> pieces, Timeout timeout = forever)
	{
		std::error_code error;
		return push_pieces(pieces, timeout, error) || detail::done(error);
	}
	std::size_t push_batch(span<const iovec> messages, Timeout timeout = forever)
	{
		std::error_code error;
		std::size_t count = push_batch(messages, timeout, error);
		detail::done(error);
		return count;
	}
	Reservation reserve(std::size_t size, Timeout timeout = forever)
	{
		std::error_code error;
		Reservation room = reserve(size, timeout, error);
		detail::done(error);
		return room;
	}
	void set_timestamp(std::uint64_t ns)
	{
		std::error_code error;
		set_timestamp(ns, error);
		detail::must(error);
	}
	bool wait_consumers(unsigned count, bool ever = true, Timeout timeout = forever)
	{
		std::error_code error;
		return wait_consumers(count, ever, timeout, error) || detail::done(error);
	}
	bool wait_drained(Timeout timeout = forever)
	{
		std::error_code error;
		return wait_drained(timeout, error) || detail::done(error);
	}
	Info info() const
	{
		std::error_code error;
		Info found = info(error);
		detail::must(error);
		return found;
	}
	int fd()
	{
		std::error_code error;
		int found = fd(error);
		detail::must(error);
		return found;
	}
#endif

private:
	using SlowCallback = std::function<void(const mqshm_slow &)>;
	mqshm_producer *handle_ = nullptr;
	std::unique_ptr<SlowCallback> slow_;
	int exceptions_ = std::uncaught_exceptions();
};

/* ---- consumers -------------------------------------------------------------------------------------------- */

enum class Start : std::int32_t { latest = MQSHM_FROM_LATEST, oldest = MQSHM_FROM_OLDEST, beginning = MQSHM_FROM_BEGINNING };

struct ConsumerOptions {
	Start start = Start::latest;
	std::uint32_t flags = 0;	/* MQSHM_LOSSY, MQSHM_PREFAULT, MQSHM_MLOCK */
	std::int32_t spin_us = 0;	/* as in struct mqshm_consumer_options */
	Timeout wait = no_wait;		/* for a queue that does not exist yet */
	const char *name = nullptr;	/* of the consumer: its cursor outlives it for `lease`. Belongs to the caller */
	std::chrono::milliseconds lease = std::chrono::milliseconds(0);

	mqshm_consumer_options native() const noexcept
	{
		mqshm_consumer_options o{};
		auto ms = lease.count();
		o.size = sizeof o;
		o.flags = flags;
		o.start = static_cast<std::int32_t>(start);
		o.spin_us = spin_us;
		o.wait_ms = wait.ms();
		o.name = name;
		o.lease_ms = ms >= 0 && ms <= static_cast<std::int64_t>(MQSHM_LEASE_MS_MAX) ? static_cast<std::uint32_t>(ms)
											    : MQSHM_LEASE_MS_MAX + 1; /* refused */
		return o;
	}
};

/*
 * Up to N messages where they lie in the ring (read only), as Consumer::peek() found them. release() moves on. Destroying it
 * does not: what an exception or a death kept from being dealt with is seen again by the next peek (at least once); so
 * release when you are done. Empty (false): nothing came in the time, or the stream has ended. A pop, a release or a peek by other means
 * ends its use.
 */
template <std::size_t N = 1>
class Messages {
	static_assert(N > 0);

public:
	Messages() noexcept = default;
	Messages(Messages &&other) noexcept { *this = std::move(other); }
	Messages &operator=(Messages &&other) noexcept
	{
		if (this != &other) {
			for (std::size_t i = 0; i < other.count_; i++)
				messages_[i] = other.messages_[i];
			consumer_ = std::exchange(other.consumer_, nullptr);
			count_ = std::exchange(other.count_, 0);
			released_ = std::exchange(other.released_, 0);
		}
		return *this;
	}
	~Messages() = default;

	explicit operator bool() const noexcept { return count_ != 0; }
	std::size_t size() const noexcept { return count_; }
	const Message *begin() const noexcept { return messages_; }
	const Message *end() const noexcept { return messages_ + count_; }
	const Message &operator[](std::size_t i) const noexcept { return messages_[i]; }
	const Message *operator->() const noexcept { return messages_; }
	const Message &operator*() const noexcept { return *messages_; }

	/* Move on past the first count not released yet. stale_file_handle (ESTALE), on a lossy consumer: the producer was faster,
	   and what was read may be torn. invalid_argument: there are fewer. */
	void release(std::size_t count, std::error_code &error) noexcept
	{
		if (!consumer_ || count > count_ - released_) {
			error = {EINVAL, category()};
			detail::last_value() = 0;
			return;
		}
		error = detail::code(mqshm_consumer_release(consumer_, count));
		if (!error)
			released_ += count;
	}
	/* All of them. */
	void release(std::error_code &error) noexcept { release(count_ - released_, error); }
#if MQSHM_HPP_EXCEPTIONS
	void release() { release(count_ - released_); }
	void release(std::size_t count)
	{
		std::error_code error;
		release(count, error);
		detail::must(error);
	}
#endif

private:
	friend class Consumer;
	Message messages_[N];
	mqshm_consumer *consumer_ = nullptr;
	std::size_t count_ = 0, released_ = 0;
};

/*
 * A queue's consumer. At the end of the stream the throwing functions return what they return when time runs out, and ended()
 * is true: `while (auto m = consumer.pop(buffer))` reads it all. After a producer that died they throw (std::errc::owner_dead).
 */
class Consumer {
public:
	Consumer() noexcept = default;
	Consumer(Consumer &&other) noexcept
	    : handle_(std::exchange(other.handle_, nullptr)), ended_(std::exchange(other.ended_, false))
	{
	}
	Consumer &operator=(Consumer &&other) noexcept
	{
		if (this != &other) {
			close();
			handle_ = std::exchange(other.handle_, nullptr);
			ended_ = std::exchange(other.ended_, false);
		}
		return *this;
	}
	~Consumer() { close(); }

	/*
	 * Attach. queue nullptr: it must exist, or come within options.wait; else it is created when missing and must match when
	 * not. Errors as for mqshm_consumer_open(); the Consumer is empty then.
	 */
	static Consumer open(CString name, const QueueOptions *queue, const ConsumerOptions &options,
			     std::error_code &error) noexcept
	{
		Consumer c;
		mqshm_queue_options geometry{};
		mqshm_consumer_options native = options.native();
		if (queue)
			geometry = queue->native();
		error = detail::code(mqshm_consumer_open(&c.handle_, name.c_str(), queue ? &geometry : nullptr, &native));
		return c;
	}
#if MQSHM_HPP_EXCEPTIONS
	explicit Consumer(CString name, const ConsumerOptions &options = {})
	{
		std::error_code error;
		*this = open(name, nullptr, options, error);
		detail::must(error);
	}
	Consumer(CString name, const QueueOptions &queue, const ConsumerOptions &options = {})
	{
		std::error_code error;
		*this = open(name, &queue, options, error);
		detail::must(error);
	}
#endif

	explicit operator bool() const noexcept { return handle_ != nullptr; }
	/* For functions of mqshm.h; still ours. */
	mqshm_consumer *native() const noexcept { return handle_; }
	/* Did the last pop or peek find the end of the stream? A later one may find a new producer's messages. */
	bool ended() const noexcept { return ended_; }

	/* Take the next message into buffer, which block_size() bytes are enough for. Errors as for mqshm_consumer_pop(). */
	std::optional<Message> pop(Buffer buffer, Timeout timeout, std::error_code &error) noexcept
	{
		Message message;
		ssize_t rc = mqshm_consumer_pop(handle_, buffer.data(), buffer.size(), &message, timeout.ms());
		if (note(rc, error))
			return message;
		return std::nullopt;
	}
	/* Take min to messages.size() at once, their payloads one after the other in buffer; see mqshm_consumer_pop_batch(). How many. */
	std::size_t pop_batch(span<Message> messages, Buffer buffer, std::size_t min, Timeout timeout,
			      std::error_code &error) noexcept
	{
		int rc = mqshm_consumer_pop_batch(handle_, messages.data(), min, messages.size(), buffer.data(), buffer.size(),
						  timeout.ms());
		return note(rc, error) ? static_cast<std::size_t>(rc) : 0;
	}
	/* Zero copy: look at up to N messages in the ring. */
	template <std::size_t N = 1>
	Messages<N> peek(Timeout timeout, std::error_code &error) noexcept
	{
		Messages<N> seen;
		seen.count_ = peek(span<Message>(seen.messages_), timeout, error);
		seen.consumer_ = handle_;
		return seen;
	}
	/* The same, as many as there is room for; how many. Then release() here. */
	std::size_t peek(span<Message> messages, Timeout timeout, std::error_code &error) noexcept
	{
		int rc = mqshm_consumer_peek(handle_, messages.data(), messages.size(), timeout.ms());
		return note(rc, error) ? static_cast<std::size_t>(rc) : 0;
	}
	void release(std::size_t count, std::error_code &error) noexcept
	{
		error = detail::code(mqshm_consumer_release(handle_, count));
	}
	/* Messages not read yet; messages that were overwritten or gone before they could be read. */
	std::uint64_t lag(std::error_code &error) const noexcept { return number(mqshm_consumer_lag(handle_), error); }
	std::uint64_t missed(std::error_code &error) const noexcept { return number(mqshm_consumer_missed(handle_), error); }
	/* The id of its slot, as stat shows it. */
	std::uint32_t id(std::error_code &error) const noexcept
	{
		return static_cast<std::uint32_t>(number(mqshm_consumer_id(handle_), error));
	}
	/* Has it been made lossy, as it was too slow? Did it take on a former one's cursor? */
	bool demoted(std::error_code &error) const noexcept { return number(mqshm_consumer_demoted(handle_), error) != 0; }
	bool resumed(std::error_code &error) const noexcept { return number(mqshm_consumer_resumed(handle_), error) != 0; }
	Info info(std::error_code &error) const noexcept
	{
		Info found;
		error = detail::code(mqshm_consumer_info(handle_, &found));
		return found;
	}
	/* A descriptor to poll for POLLIN: readable while a message, the end or an error is to be had. See mqshm_consumer_fd().
	   -1 on error. */
	int fd(std::error_code &error) noexcept
	{
		int rc = mqshm_consumer_fd(handle_);
		error = detail::code(rc);
		return rc < 0 ? -1 : rc;
	}
	/* As Producer::cancel(). */
	void cancel() const noexcept { mqshm_consumer_cancel(handle_); }
	/* Leave; a named one's cursor is kept for its lease. No harm if it is closed. */
	void close() noexcept
	{
		(void)mqshm_consumer_close(std::exchange(handle_, nullptr));
		ended_ = false;
	}
	/* Leave, and give the cursor up. */
	void leave() noexcept
	{
		(void)mqshm_consumer_leave(std::exchange(handle_, nullptr));
		ended_ = false;
	}

#if MQSHM_HPP_EXCEPTIONS
	/* The same, throwing. Empty or 0: the time ran out, or ended(). */
	std::optional<Message> pop(Buffer buffer, Timeout timeout = forever)
	{
		std::error_code error;
		auto message = pop(buffer, timeout, error);
		check(error);
		return message;
	}
	std::size_t pop_batch(span<Message> messages, Buffer buffer, std::size_t min = 1, Timeout timeout = forever)
	{
		std::error_code error;
		std::size_t count = pop_batch(messages, buffer, min, timeout, error);
		check(error);
		return count;
	}
	template <std::size_t N = 1>
	Messages<N> peek(Timeout timeout = forever)
	{
		std::error_code error;
		Messages<N> seen = peek<N>(timeout, error);
		check(error);
		return seen;
	}
	std::size_t peek(span<Message> messages, Timeout timeout = forever)
	{
		std::error_code error;
		std::size_t count = peek(messages, timeout, error);
		check(error);
		return count;
	}
	void release(std::size_t count)
	{
		std::error_code error;
		release(count, error);
		detail::must(error);
	}
	std::uint64_t lag() const { return sure(&Consumer::lag); }
	std::uint64_t missed() const { return sure(&Consumer::missed); }
	std::uint32_t id() const { return sure(&Consumer::id); }
	bool demoted() const { return sure(&Consumer::demoted); }
	bool resumed() const { return sure(&Consumer::resumed); }
	Info info() const { return sure(&Consumer::info); }
	/* The largest message in bytes. */
	std::size_t block_size() const { return info().block_size; }
	int fd()
	{
		std::error_code error;
		int found = fd(error);
		detail::must(error);
		return found;
	}
#endif

private:
	bool note(std::int64_t rc, std::error_code &error) noexcept
	{
		ended_ = rc == -ESHUTDOWN || rc == -EOWNERDEAD;
		if (rc >= 0)
			error.clear();
		else
			error = detail::code(rc);
		return rc >= 0;
	}
	static std::uint64_t number(std::int64_t rc, std::error_code &error) noexcept
	{
		error = detail::code(rc);
		return rc < 0 ? 0 : static_cast<std::uint64_t>(rc);
	}
#if MQSHM_HPP_EXCEPTIONS
	static void check(const std::error_code &error)
	{
		if (error.value() != ESHUTDOWN)
			detail::done(error);
	}
	template <class T>
	T sure(T (Consumer::*ask)(std::error_code &) const noexcept) const
	{
		std::error_code error;
		T answer = (this->*ask)(error);
		detail::must(error);
		return answer;
	}
#endif
	mqshm_consumer *handle_ = nullptr;
	bool ended_ = false;
};

/* ---- waiting on many -------------------------------------------------------------------------------------- */

/* One to wait for; see struct mqshm_wait_item. Empty: passed over. */
struct WaitItem : mqshm_wait_item {
	WaitItem() noexcept : mqshm_wait_item{} {}
	WaitItem(const Consumer &one) noexcept : mqshm_wait_item{one.native(), nullptr, 0} {}
	WaitItem(const Producer &one) noexcept : mqshm_wait_item{nullptr, one.native(), 0} {}

	bool ready() const noexcept { return result > 0; }
	/* What its next call would give, if that is an error: the end of the stream too. */
	std::error_code error() const noexcept { return result < 0 ? std::error_code(-result, category()) : std::error_code(); }
};
static_assert(sizeof(WaitItem) == sizeof(mqshm_wait_item), "arrays of one are arrays of the other");

/* Wait until at least one is ready or has an error: mqshm_wait_any(). How many. Level-triggered: make ended ones empty. */
inline std::size_t wait_any(span<WaitItem> items, Timeout timeout, std::error_code &error) noexcept
{
	int rc = mqshm_wait_any(items.data(), items.size(), timeout.ms());
	error = detail::code(rc);
	return rc < 0 ? 0 : static_cast<std::size_t>(rc);
}
#if MQSHM_HPP_EXCEPTIONS
inline std::size_t wait_any(span<WaitItem> items, Timeout timeout = forever)
{
	std::error_code error;
	std::size_t count = wait_any(items, timeout, error);
	detail::done(error);
	return count;
}
#endif

} // namespace mqshm

#include "mqshm/multiqueue.hpp"

#endif
