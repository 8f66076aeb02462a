/* SPDX-License-Identifier: MIT */
/*
 * The interface of an older C++ library, namespace multiqueue, on the queues of mqshm. For new code take mqshm.hpp.
 * docs/migration.md says what changed. Needs exceptions.
 *
 * A RingQueue both pushes and pops. Under it are a producer, attached from the start (so the queue lives as long as one
 * object of its name is open, and its stream does not end before), and a consumer, attached at the first pop or peek:
 *
 *   Who gets what     Every object that pops gets every message. An object that only pushes has no cursor. Until one pops or
 *                     peeks, the queue keeps all from its first message on (and is full with `capacity` of them); that one
 *                     starts there; each later one at the oldest message that is still in the ring, read by others or not.
 *   BLOCKING          Exactly `capacity` messages fit, counted from the slowest object that pops; then a push waits.
 *   NON_BLOCKING      A push onto a full queue overwrites the oldest; the newest `capacity` messages are there to be had. No
 *                     pop() waits. Nobody holds a pusher back.
 *
 * Threads      All functions may be called from several threads at once. Pushing and popping don't wait for each other.
 * Signals      When a signal handler runs during a wait, the wait ends as if its time had run out.
 * fork         A child opens its own objects; its parent's throw (std::errc::no_child_process) and may be destroyed.
 * Errors       mqshm::Error, see mqshm.h for the codes; after close(): std::errc::bad_file_descriptor.
 * Limits       64 objects of one name at a time, all processes together. Times in ms: 0 does not wait, negative: for ever.
 */
#ifndef MQSHM_MULTIQUEUE_HPP
#define MQSHM_MULTIQUEUE_HPP

#include "../mqshm.hpp"

#if MQSHM_HPP_EXCEPTIONS

#include <algorithm>
#include <atomic>
#include <condition_variable>

#include <unistd.h>

namespace multiqueue {

enum class BlockingMode { BLOCKING, NON_BLOCKING };

struct QueueConfig {
	std::size_t capacity = 1024;			     /* messages: 1..2^29. Any number, not only powers of two */
	BlockingMode blocking_mode = BlockingMode::BLOCKING;
	int timeout_ms = 1000;				     /* of push() and pop() in BLOCKING mode */
	bool has_timestamp = false;			     /* timestamps given are kept; else each is the time of its push */
	std::string queue_name;				     /* for RingQueue(config) */
	std::string user_metadata;			     /* kept with the queue, at most MQSHM_METADATA_MAX bytes */
	std::size_t block_size = 4096;			     /* largest message in bytes */
};

/* Of the queue, at about one moment, unless it says "this object". Times are ns since the epoch, 0: not yet. */
struct QueueStats {
	std::uint64_t total_pushed;
	std::uint64_t total_popped;    /* summed over all objects that pop */
	std::uint64_t overwrite_count; /* NON_BLOCKING: messages that this object has not got and can't get any more */
	std::uint32_t producer_count;  /* open objects */
	std::uint32_t consumer_count;  /* objects that have popped */
	std::size_t current_size;      /* size() */
	std::size_t capacity;
	std::uint64_t created_at;
	std::uint64_t last_write_time; /* this object's last push */
	std::uint64_t last_read_time;  /* anybody's last pop; exact to 32 messages or the last wait */
	bool is_closed;
};

/* A message that was popped or peeked. */
struct Item {
	std::vector<std::byte> data;
	std::uint64_t timestamp = 0;

	std::string_view text() const noexcept { return {reinterpret_cast<const char *>(data.data()), data.size()}; }
};

namespace detail {

/*
 * One side of a queue, for one thread at a time. Who has it and sleeps in a wait says so: to the others the queue is then empty,
 * or full.
 */
class Side {
public:
	/* False: the time ran out, and who has it sleeps, and give_up() agrees; else it is soon free. */
	template <class F>
	bool enter(int timeout_ms, F &&give_up)
	{
		auto is_free = [this] { return state_ == free; };
		auto lock = locked();
		if (state_ != free)
			refuse_child();
		queued_++;
		if (timeout_ms < 0)
			changed_.wait(lock, is_free);
		else if (timeout_ms > 0)
			changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), is_free);
		while (state_ == busy || (state_ == asleep && !give_up()))
			changed_.wait_for(lock, std::chrono::milliseconds(1));
		queued_--;
		if (state_ != free)
			return false;
		state_ = busy;
		return true;
	}
	void leave() { change(free); }
	void sleeps(bool does) { change(does ? asleep : busy); }

private:
	enum State { free, busy, asleep };

	void change(State to)
	{
		auto lock = locked();
		state_ = to;
		if (queued_)
			changed_.notify_all();
	}
	std::unique_lock<std::mutex> locked()
	{
		std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
		if (!lock) {
			refuse_child();
			lock.lock();
		}
		return lock;
	}
	/* In a child, what is not free may belong to a thread that is not there. */
	void refuse_child() const
	{
		if (pid_ != ::getpid())
			throw mqshm::Error(ECHILD, "the queue's object belongs to a parent process");
	}

	std::mutex mutex_;
	std::condition_variable changed_;
	State state_ = free; /* this and queued_: under the mutex */
	unsigned queued_ = 0;
	const pid_t pid_ = ::getpid();
};

/* Holds one side, if it could be had. */
class Inside {
public:
	template <class F>
	Inside(Side &side, int timeout_ms, F &&give_up) : side_(side), in_(side.enter(timeout_ms, give_up))
	{
	}
	Inside(Side &side, int timeout_ms) : Inside(side, timeout_ms, [] { return true; }) {}
	Inside(const Inside &) = delete;
	Inside &operator=(const Inside &) = delete;
	~Inside()
	{
		if (in_)
			side_.leave();
	}
	explicit operator bool() const noexcept { return in_; }

private:
	Side &side_;
	bool in_;
};

/* While it lives, others are told that we wait. */
class Waiting {
public:
	explicit Waiting(Side &side) : side_(side) { side_.sleeps(true); }
	Waiting(const Waiting &) = delete;
	Waiting &operator=(const Waiting &) = delete;
	~Waiting() { side_.sleeps(false); }

private:
	Side &side_;
};

/* What is left of a time. */
class Deadline {
	using Clock = std::chrono::steady_clock;

public:
	explicit Deadline(int timeout_ms)
	    : forever_(timeout_ms < 0), end_(Clock::now() + std::chrono::milliseconds(forever_ ? 0 : timeout_ms))
	{
	}
	mqshm::Timeout left() const { return forever_ ? mqshm::forever : mqshm::Timeout(end_ - Clock::now()); }

private:
	bool forever_;
	Clock::time_point end_;
};

/*
 * A ring that overwrites drops up to 1/8 of itself at once. So that the newest `capacity` messages are always there, it is made
 * larger by a bit more than that, and readers skip what is older.
 */
inline std::size_t overwrite_nodes(std::size_t capacity) noexcept
{
	return capacity + capacity / 7 + 2;
}
inline std::size_t overwrite_capacity(std::size_t nodes) noexcept
{
	std::size_t n = nodes > 2 ? (nodes - 2) * 7 / 8 : 1;
	while (overwrite_nodes(n + 1) <= nodes)
		n++;
	return n;
}

} // namespace detail

class RingQueue {
public:
	/*
	 * Create the queue, or join what is there: then its capacity, block size and metadata are as they are (see capacity(),
	 * metadata()), but blocking_mode and has_timestamp must be the same, as messages or timestamps would get lost
	 * otherwise (std::errc::file_exists).
	 */
	RingQueue(const std::string &name, const QueueConfig &config = {}) : name_(name), config_(config)
	{
		open();
	}
	explicit RingQueue(const QueueConfig &config) : RingQueue(config.queue_name, config) {}
	RingQueue(const RingQueue &) = delete;
	RingQueue &operator=(const RingQueue &) = delete;

	~RingQueue() { close(); }

	/*
	 * Push size bytes. True: pushed; false: full, or another process is stopped in the midst of a push. push() waits timeout_ms of the config in BLOCKING mode, try_push() never. A
	 * timestamp (any unit, 0 too) is kept when has_timestamp, where none given means now.
	 */
	bool push(const void *data, std::size_t size, std::optional<std::uint64_t> timestamp = std::nullopt)
	{
		return push_with_timeout(data, size, config_.timeout_ms, timestamp);
	}
	bool try_push(const void *data, std::size_t size, std::optional<std::uint64_t> timestamp = std::nullopt)
	{
		return push_with_timeout(data, size, 0, timestamp);
	}
	bool push_with_timeout(const void *data, std::size_t size, int timeout_ms,
			       std::optional<std::uint64_t> timestamp = std::nullopt)
	{
		if (overwrites() && timeout_ms >= 0 && timeout_ms < patience_ms)
			timeout_ms = patience_ms; /* for the lock only */
		detail::Deadline deadline(timeout_ms);
		detail::Inside inside(pushing_, timeout_ms, [this] { return overwrites() || seems_full(true); });
		if (!inside)
			return false;
		must_be_open();
		std::uint64_t now = now_ns();
		if (config_.has_timestamp)
			producer_.set_timestamp(timestamp.value_or(now));
		if (!push_inside({data, size}, timeout_ms, deadline))
			return false;
		last_write_.store(now, std::memory_order_relaxed);
		return true;
	}

	/*
	 * Take the next message into buffer. True: got it, its size and timestamp are stored where wanted; false: nothing came.
	 * pop() waits timeout_ms of the config in BLOCKING mode, try_pop() never. A buffer that is too small: std::errc::message_size,
	 * *size is what it takes, and the message stays.
	 */
	bool pop(void *buffer, std::size_t room, std::size_t *size = nullptr, std::uint64_t *timestamp = nullptr)
	{
		return pop_with_timeout(buffer, room, pop_ms(), size, timestamp);
	}
	bool try_pop(void *buffer, std::size_t room, std::size_t *size = nullptr, std::uint64_t *timestamp = nullptr)
	{
		return pop_with_timeout(buffer, room, 0, size, timestamp);
	}
	bool pop_with_timeout(void *buffer, std::size_t room, int timeout_ms, std::size_t *size = nullptr,
			      std::uint64_t *timestamp = nullptr)
	{
		return take(timeout_ms, true, [&](const mqshm::Message &message) {
			if (size)
				*size = message.size;
			if (message.size > room)
				throw mqshm::Error(EMSGSIZE, "the message of " + std::to_string(message.size) +
								     " bytes is larger than the buffer of " + std::to_string(room));
			if (message.size)
				std::memcpy(buffer, message.data, message.size);
			if (timestamp)
				*timestamp = message.timestamp_ns;
		});
	}

	/* The same with a copy of its own. */
	std::optional<Item> pop() { return take(pop_ms(), true); }
	std::optional<Item> try_pop() { return take(0, true); }
	std::optional<Item> pop_with_timeout(int timeout_ms) { return take(timeout_ms, true); }
	/* The next message, which stays; does not wait. */
	std::optional<Item> peek() { return take(0, false); }

	/*
	 * Messages that this object has not popped yet. Of one that has never popped or peeked: what its first pop would find, if
	 * it has not pushed either; else what the slowest object that pops has before it. full(): size() is capacity(), and,
	 * before the first pop, somebody holds the pushers back. Without a cursor this takes some 10 us.
	 */
	std::size_t size() const
	{
		detail::Inside inside(popping_, 0);
		if (!inside) /* a thread waits for the next message: there is none */
			return 0;
		must_be_open();
		return size_inside();
	}
	bool empty() const { return size() == 0; }
	bool full() const
	{
		detail::Inside inside(popping_, 0);
		if (!inside)
			return false;
		must_be_open();
		return consumer_ ? size_inside() >= capacity_ : is_full(look());
	}
	std::size_t capacity() const noexcept { return capacity_; }
	std::size_t block_size() const noexcept { return block_size_; }
	const std::string &name() const noexcept { return name_; }
	const std::string &metadata() const noexcept { return config_.user_metadata; }
	/* As it was given, with what the queue turned out to have. */
	const QueueConfig &config() const noexcept { return config_; }

	QueueStats get_stats() const
	{
		QueueStats s{};
		std::uint64_t gone = 0;
		s.is_closed = is_closed();
		s.capacity = capacity_;
		s.last_write_time = last_write_.load(std::memory_order_relaxed);
		if (s.is_closed)
			return s;
		mqshm::Stat stat;
		{
			detail::Inside inside(popping_, 0);
			if (inside)
				must_be_open();
			stat = look();
			s.current_size = inside ? size_inside() : 0;
			gone = popped_.load() + s.current_size;
		}
		s.total_pushed = stat->total_pushed;
		s.total_popped = stat->total_popped - std::min(skipped_.load(), stat->total_popped);
		s.overwrite_count = overwrites() ? stat->total_pushed - std::min(gone, stat->total_pushed) : stat->overwrite_count;
		s.producer_count = stat->producer_count;
		s.consumer_count = stat->consumer_count;
		s.created_at = stat->created_at_ns;
		for (const auto &c : stat.consumers())
			s.last_read_time = std::max(s.last_read_time, c.popped ? c.last_access_ns : 0);
		return s;
	}

	/* Leave the queue; waits that go on in other threads end with an error, as do all later calls. The last object of a name
	   that closes takes the queue and what is in it along. */
	void close() noexcept
	{
		bool ours = pid_ == ::getpid(); /* else it is a child's copy, and the sides may be held by threads that it does not have */
		if (closed_.exchange(true))
			return;
		if (ours) {
			if (mqshm_consumer *waits = may_wait_.load())
				mqshm_consumer_cancel(waits);
			if (producer_)
				producer_.cancel();
			popping_.enter(-1, [] { return false; });
			pushing_.enter(-1, [] { return false; });
		}
		may_wait_.store(nullptr);
		consumer_.close();
		producer_.close();
		if (ours) {
			pushing_.leave();
			popping_.leave();
		}
	}
	bool is_closed() const noexcept { return closed_.load(); }

private:
	static constexpr int patience_ms = 100; /* with others who are just pushing */

	bool overwrites() const noexcept { return config_.blocking_mode == BlockingMode::NON_BLOCKING; }
	int pop_ms() const noexcept { return overwrites() ? 0 : config_.timeout_ms; }

	static std::uint64_t now_ns()
	{
		return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
							  std::chrono::system_clock::now().time_since_epoch())
							  .count());
	}

	void must_be_open() const
	{
		if (closed_.load())
			throw mqshm::Error(EBADF, "queue '" + name_ + "' is closed here");
	}

	void open();
	void check(std::uint32_t flags) const;
	std::uint32_t flags() const noexcept;
	mqshm::Stat look() const { return mqshm::stat(name_); }
	bool push_inside(mqshm::Bytes message, int timeout_ms, const detail::Deadline &deadline);
	bool gave_up(const std::error_code &error) const;
	void attach();
	void skip_old();
	std::int64_t furthest_behind(const mqshm::Stat &stat) const;
	bool is_full(const mqshm::Stat &stat) const;
	bool seems_full(bool unknown) const noexcept
	{
		std::error_code error;
		auto stat = mqshm::stat(name_, error);
		return error ? unknown : is_full(stat);
	}
	std::size_t size_inside() const;
	template <class F>
	bool take(int timeout_ms, bool move_on, F &&use);
	std::optional<Item> take(int timeout_ms, bool move_on)
	{
		std::optional<Item> item;
		take(timeout_ms, move_on, [&item](const mqshm::Message &message) {
			auto bytes = message.bytes();
			item.emplace();
			item->data.assign(bytes.begin(), bytes.end());
			item->timestamp = message.timestamp_ns;
		});
		return item;
	}

	std::string name_;
	QueueConfig config_;
	std::size_t capacity_ = 0, block_size_ = 0;
	const pid_t pid_ = ::getpid();
	std::atomic<bool> closed_{false};
	mutable detail::Side pushing_, popping_;
	mqshm::Producer producer_; /* pushing_ */
	mqshm::Consumer consumer_; /* popping_ */
	std::uint64_t created_ns_ = 0;
	std::vector<std::byte> copy_;		 /* popping_: of a message that may be overwritten while it is read */
	std::atomic<mqshm_consumer *> may_wait_{nullptr};
	std::atomic<std::uint64_t> popped_{0}, skipped_{0};
	std::atomic<std::uint64_t> last_write_{0}; /* 0: has not pushed */
};

/* ---- opening ---------------------------------------------------------------------------------------------- */

inline std::uint32_t RingQueue::flags() const noexcept
{
	return MQSHM_SHARED | (overwrites() ? MQSHM_OVERWRITE : MQSHM_HOLD) | (config_.has_timestamp ? MQSHM_TIMESTAMP_OWN : 0u);
}

inline void RingQueue::check(std::uint32_t found) const
{
	const char *what = nullptr;
	if ((found & ~static_cast<std::uint32_t>(MQSHM_PERSISTENT)) == flags())
		return;
	if (!(found & MQSHM_SHARED) || !(found & (MQSHM_OVERWRITE | MQSHM_HOLD)) || found & MQSHM_TIMESTAMP_OFF)
		what = "was not made for RingQueue (shared; overwrite or hold)";
	else if (!(found & MQSHM_OVERWRITE) != !overwrites())
		what = found & MQSHM_OVERWRITE ? "is NON_BLOCKING" : "is BLOCKING";
	else
		what = found & MQSHM_TIMESTAMP_OWN ? "has_timestamp" : "has no timestamps of its own";
	throw mqshm::Error(EEXIST, "queue '" + name_ + "' is there and " + what);
}

inline void RingQueue::open()
{
	if (config_.capacity < 1 || config_.capacity > MQSHM_NODES_MAX / 2)
		throw mqshm::Error(EINVAL, "capacity is " + std::to_string(config_.capacity) + ", not 1..536870912");
	if (config_.block_size < 1 || config_.block_size > MQSHM_BLOCK_MAX)
		throw mqshm::Error(EINVAL, "block_size is " + std::to_string(config_.block_size) + ", not 1..1073741824");
	auto nodes = overwrites() ? detail::overwrite_nodes(config_.capacity) : config_.capacity;
	auto queue = mqshm::QueueOptions{}
			     .nodes(static_cast<std::uint32_t>(nodes))
			     .block(static_cast<std::uint32_t>(config_.block_size))
			     .consumers(64)
			     .with(flags())
			     .described(config_.user_metadata);
	for (;;) {
		std::error_code error;
		producer_ = mqshm::Producer::open(name_, &queue, {}, error);
		if (error == std::errc::file_exists) { /* another geometry: before we join, is it for us? */
			auto there = mqshm::stat(name_, error);
			if (!error) {
				check(there->flags);
				producer_ = mqshm::Producer::open(name_, nullptr, {}, error);
			}
			if (error == std::errc::no_such_file_or_directory) /* it went meanwhile */
				continue;
		}
		mqshm::detail::must(error);
		break;
	}
	auto info = producer_.info();
	check(info.flags);
	created_ns_ = info.created_at_ns;
	capacity_ = overwrites() ? detail::overwrite_capacity(info.node_count) : info.node_count;
	block_size_ = info.block_size;
	config_.queue_name = name_;
	config_.capacity = capacity_;
	config_.block_size = block_size_;
	config_.user_metadata = info.described();
	copy_.resize(overwrites() ? block_size_ : 0);
}

/* At the first pop or peek. */
inline void RingQueue::attach()
{
	mqshm::ConsumerOptions options;
	options.start = mqshm::Start::oldest;
	mqshm::Consumer consumer(name_, options);
	if (consumer.info().created_at_ns != created_ns_)
		throw mqshm::Error(ESTALE, "queue '" + name_ + "' was removed, and another has its name");
	consumer_ = std::move(consumer);
	may_wait_.store(consumer_.native());
	must_be_open(); /* close() either sees whom to cancel or is seen here */
}

/* ---- pushing and popping ---------------------------------------------------------------------------------- */

/* True: time ran out, or a signal came; false: no error; else it throws. */
inline bool RingQueue::gave_up(const std::error_code &error) const
{
	if (!error)
		return false;
	if (error == std::errc::operation_canceled)
		must_be_open();
	else if (error != std::errc::interrupted && !mqshm::detail::ran_out(error))
		throw mqshm::Error(error);
	return true;
}

inline bool RingQueue::push_inside(mqshm::Bytes message, int timeout_ms, const detail::Deadline &deadline)
{
	std::error_code error;
	if (producer_.push(message, mqshm::no_wait, error))
		return true;
	if (error == std::errc::resource_unavailable_try_again && timeout_ms != 0) {
		detail::Waiting waiting(pushing_);
		producer_.push(message, deadline.left(), error);
	}
	/* Without waiting, this may also say that another process is just pushing. */
	for (int tries = 0; error == std::errc::resource_unavailable_try_again && timeout_ms == 0 && tries < patience_ms; tries++) {
		if (seems_full(false)) /* a queue that is gone: push says it better */
			return false;
		producer_.push(message, std::chrono::milliseconds(1), error);
		if (error == std::errc::timed_out)
			error = std::make_error_code(std::errc::resource_unavailable_try_again);
	}
	return error != std::errc::resource_unavailable_try_again && !gave_up(error);
}

/* NON_BLOCKING: past what is older than the newest `capacity` messages. */
inline void RingQueue::skip_old()
{
	std::error_code error;
	for (int tries = 0; tries < 64 && consumer_.lag() > capacity_; tries++) { /* pushers may be faster */
		auto old = consumer_.peek<64>(mqshm::no_wait, error);
		std::uint64_t lag = consumer_.lag(); /* now: a lapped cursor has moved */
		if (!old || lag <= capacity_)
			return;
		auto count = static_cast<std::size_t>(std::min<std::uint64_t>(lag - capacity_, old.size()));
		old.release(count, error);
		if (!error)
			skipped_ += count;
	}
}

template <class F>
bool RingQueue::take(int timeout_ms, bool move_on, F &&use)
{
	detail::Deadline deadline(timeout_ms);
	detail::Inside inside(popping_, timeout_ms);
	std::error_code error;
	if (!inside)
		return false;
	must_be_open();
	if (!consumer_)
		attach();
	for (;;) {
		if (overwrites())
			skip_old();
		auto seen = consumer_.peek(mqshm::no_wait, error);
		if (error == std::errc::resource_unavailable_try_again && timeout_ms != 0) {
			detail::Waiting waiting(popping_);
			seen = consumer_.peek(deadline.left(), error);
		}
		if (gave_up(error))
			return false;
		mqshm::Message message = *seen;
		if (overwrites()) { /* seen again after it was copied, it was whole */
			if (message.size)
				std::memcpy(copy_.data(), message.data, message.size);
			message.data = copy_.data();
			seen = consumer_.peek(mqshm::no_wait, error);
			if (!seen || seen->sequence != message.sequence)
				continue;
		}
		use(message);
		if (move_on) {
			seen.release(error);
			if (error && !(overwrites() && error == std::error_code(ESTALE, mqshm::category())))
				throw mqshm::Error(error);
			popped_++;
		}
		return true;
	}
}

/* ---- looking ---------------------------------------------------------------------------------------------- */

/* Of the one who is furthest behind and counts: it lives, or has a lease, and (BLOCKING) holds pushers back. -1: there is none. */
inline std::int64_t RingQueue::furthest_behind(const mqshm::Stat &stat) const
{
	std::int64_t most = -1;
	for (const auto &c : stat.consumers())
		if ((c.alive || c.leased) && (overwrites() || !c.lossy))
			most = std::max(most, static_cast<std::int64_t>(std::min<std::uint64_t>(c.lag, capacity_)));
	return most;
}

inline bool RingQueue::is_full(const mqshm::Stat &stat) const
{
	auto most = furthest_behind(stat);
	if (most < 0 && (overwrites() || stat->consumers_ever == 0)) /* held, else nobody holds pushers back */
		most = static_cast<std::int64_t>(std::min<std::uint64_t>(stat->kept, capacity_));
	return most >= static_cast<std::int64_t>(capacity_);
}

/* popping_ is ours. */
inline std::size_t RingQueue::size_inside() const
{
	if (consumer_)
		return static_cast<std::size_t>(std::min<std::uint64_t>(consumer_.lag(), capacity_));
	auto stat = look();
	auto most = furthest_behind(stat);
	if (most < 0 || last_write_.load(std::memory_order_relaxed) == 0)
		return static_cast<std::size_t>(std::min<std::uint64_t>(stat->kept, capacity_));
	return static_cast<std::size_t>(most);
}

} // namespace multiqueue

#endif
#endif
