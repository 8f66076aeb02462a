/* SPDX-License-Identifier: MIT */
/* The classes of namespace mqshm, throwing and not. */
#include <array>
#include <atomic>
#include <thread>

#include <poll.h>

#include "check.hpp"

#if __cplusplus >= 202002L
#include <span>
static_assert(std::is_convertible_v<mqshm::span<const std::byte>, std::span<const std::byte>>);
static_assert(std::is_convertible_v<std::span<const float>, mqshm::Bytes>);
static_assert(std::is_convertible_v<std::span<float>, mqshm::Buffer>);
#endif

using namespace mqshm;

template <class T>
constexpr bool move_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
			   !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> &&
			   std::is_nothrow_destructible_v<T> && std::is_nothrow_default_constructible_v<T>;
static_assert(move_only<Producer> && move_only<Consumer> && move_only<Reservation> && move_only<Stat>);
static_assert(move_only<Messages<1>> && move_only<Messages<64>>);
static_assert(!std::is_copy_constructible_v<multiqueue::RingQueue> && !std::is_move_constructible_v<multiqueue::RingQueue>);
static_assert(std::is_aggregate_v<QueueOptions> && std::is_aggregate_v<ConsumerOptions> && std::is_aggregate_v<ProducerOptions>);
static_assert(std::is_base_of_v<std::system_error, Error>);

template <class T>
T &a() noexcept; /* never called */
using E = std::error_code;
static_assert(noexcept(a<Producer>().push("x", forever, a<E>())) && noexcept(a<Producer>().reserve(1, forever, a<E>())) && noexcept(a<Producer>().push_batch({}, forever, a<E>())));
static_assert(noexcept(a<Consumer>().peek(forever, a<E>())) && noexcept(a<Consumer>().peek<8>(forever, a<E>())) && noexcept(a<Consumer>().release(1, a<E>())));
static_assert(noexcept(a<Consumer>().pop(Buffer(nullptr, 0), forever, a<E>())) && noexcept(a<Consumer>().lag(a<E>())) && noexcept(a<Consumer>().cancel()));
static_assert(noexcept(wait_any({}, forever, a<E>())) && noexcept(Producer::open("x", nullptr, {}, a<E>())));

/* What may be pushed and what not. */
static_assert(std::is_convertible_v<std::string, Bytes> && std::is_convertible_v<const char *, Bytes>);
static_assert(std::is_convertible_v<std::vector<float>, Bytes> && std::is_convertible_v<std::array<double, 3>, Bytes>);
static_assert(!std::is_convertible_v<std::vector<std::string>, Bytes> && !std::is_convertible_v<std::vector<char *>, Bytes>);
static_assert(!std::is_convertible_v<int, Bytes> && !std::is_convertible_v<const std::vector<float> &, Buffer>);
static_assert(!std::is_convertible_v<int, Timeout>, "a number without a unit");

/* Timeouts: rounded up; negative: no wait; very long: for ever. */
static_assert(forever.ms() == -1 && no_wait.ms() == 0 && Timeout(1s).ms() == 1000 && Timeout(1ns).ms() == 1);
static_assert(Timeout(-5ms).ms() == 0 && Timeout(1001us).ms() == 2 && Timeout(std::chrono::hours::max()).ms() == -1);
static_assert(Timeout(std::chrono::duration<double>(0.0005)).ms() == 1 && Timeout(std::chrono::nanoseconds::min()).ms() == 0);
static_assert(Timeout(std::chrono::hours(24 * 24)).ms() == 24 * 24 * 3600 * 1000 && Timeout(std::chrono::hours(24 * 25)).ms() == -1);
static_assert(Timeout(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())).ms() == 0);

static const QueueOptions small = QueueOptions{}.nodes(4).block(64);

TEST(pushes_and_pops)
{
	Producer producer(queue("q"), small);
	Consumer consumer(queue("q"));
	std::vector<float> samples{1, 2, 3}, got(16);
	std::array<char, 64> buffer{};

	CHECK(producer.push("text") && producer.push(std::string("a\0b", 3)) && producer.push(samples));
	CHECK(producer.push(bytes_of(samples[1])));
	CHECK(!producer.push("full", no_wait) && !producer.push("full", 2ms));
	CHECK(consumer.lag() == 4 && consumer.missed() == 0);
	auto m = consumer.pop(buffer);
	CHECK(m && m->text() == "text" && m->sequence == 0 && m->data == buffer.data());
	CHECK(std::chrono::system_clock::now() - m->time() < 1h && m->time() <= std::chrono::system_clock::now());
	m = consumer.pop(buffer);
	CHECK(m && m->text() == std::string_view("a\0b", 3));
	m = consumer.pop(got);
	CHECK(m && m->as<float>().size() == 3 && m->as<float>()[2] == 3 && got[1] == 2);
	m = consumer.pop(buffer);
	CHECK(m && m->bytes().size() == sizeof(float));
	CHECK(!consumer.pop(buffer, no_wait) && !consumer.ended());
	producer.close();
	CHECK(!consumer.pop(buffer) && consumer.ended());
}

TEST(every_end_is_told)
{
	std::array<char, 64> buffer{};
	std::optional<Producer> producer(std::in_place, queue("q"), small);
	Consumer consumer(queue("q"));
	{
		Producer moved = std::move(*producer);
		CHECK(!*producer && moved);
		producer.reset(); /* of a moved-from one: nothing */
		CHECK(moved.push("1"));
		CHECK(consumer.pop(buffer));
	}
	CHECK(!consumer.pop(buffer) && consumer.ended());
	try { /* an exception is no normal end */
		Producer dies(queue("q"));
		dies.push("half");
		throw 1;
	} catch (int) {
	}
	CHECK(consumer.pop(buffer) && !consumer.ended());
	CHECK_THROWS(std::errc::owner_dead, consumer.pop(buffer));
	CHECK(consumer.ended());
	producer.emplace(queue("q"), small);
	CHECK(!consumer.pop(buffer, no_wait) && !consumer.ended());
	producer->fail();
	CHECK_THROWS(std::errc::owner_dead, consumer.pop(buffer));
	Producer first(queue("a"), small), second(queue("b"), small);
	first = std::move(second); /* closes the queue that it had */
	CHECK(!exists(queue("a")) && exists(queue("b")) && first && !second);
	first = Producer();
	CHECK(!exists(queue("b")));
}

TEST(errors_have_their_sentence)
{
	Producer producer(queue("q"), small);
	std::error_code error;
	std::string said;

	try {
		Producer second(queue("q"), small);
		CHECK(false);
	} catch (const std::system_error &caught) {
		said = caught.what();
		CHECK(caught.code() == std::errc::device_or_resource_busy && caught.code().category() == category());
	}
	CHECK(said.find("has a live producer: pid " + std::to_string(getpid())) != std::string::npos);
	CHECK(!Producer::open("no-such-queue", nullptr, {}, error) && error == std::errc::no_such_file_or_directory);
	CHECK(error.message().find("no-such-queue") != std::string::npos);
	auto before = error;
	CHECK(!producer.push(std::string(65, 'x'), no_wait, error) && error == std::errc::message_size);
	CHECK(error.message().find("65 bytes") != std::string::npos);
	CHECK(before.message() == std::generic_category().message(ENOENT)); /* its sentence is gone: no wrong one */
	CHECK(producer.push("fits", no_wait, error) && !error);
	CHECK(std::string(category().name()) == "mqshm" && category().message(ESHUTDOWN).find("end of stream") == 0);
	CHECK_THROWS(std::errc::invalid_argument, Producer("bad/name", small));
	CHECK_THROWS(std::errc::invalid_argument, Producer(queue("r"), QueueOptions{}.slow(SlowPolicy::evict, 100h * 24 * 365)));
	CHECK_THROWS(std::errc::invalid_argument, Producer(queue("r"), QueueOptions{}.slow(SlowPolicy::evict, -1ms)));
}

TEST(reservations_commit_or_abort)
{
	Producer producer(queue("q"), small);
	Consumer consumer(queue("q"));
	std::array<char, 64> buffer{};
	std::error_code error;
	{
		auto room = producer.reserve(64);
		CHECK(room && room.bytes().size() == 64 && room.as<double>().size() == 8);
		CHECK_THROWS(std::errc::resource_deadlock_would_occur, producer.push("meanwhile"));
	} /* aborted */
	CHECK(consumer.lag() == 0 && producer.push("then"));
	auto room = producer.reserve(64);
	std::memcpy(room.bytes().data(), "filled", 6);
	CHECK_THROWS(std::errc::invalid_argument, room.commit(65));
	auto moved = std::move(room);
	CHECK(moved && !room);
	room.commit(1, error);
	CHECK(error == std::errc::invalid_argument);
	moved.commit(6);
	CHECK(!moved);
	moved.abort();
	CHECK(consumer.pop(buffer)->text() == "then" && consumer.pop(buffer)->text() == "filled");
	room = producer.reserve(8);
	room = Reservation(); /* aborts */
	CHECK(producer.push("1") && producer.push("2") && producer.push("3") && producer.push("4"));
	CHECK(!producer.reserve(1, no_wait));
	producer.reserve(1, no_wait, error);
	CHECK(error == std::errc::resource_unavailable_try_again);
}

TEST(peek_releases_only_when_told)
{
	Producer producer(queue("q"), small);
	Consumer consumer(queue("q"));
	std::error_code error;

	producer.push("1"), producer.push("2"), producer.push("3");
	try {
		auto seen = consumer.peek<8>();
		CHECK(seen.size() == 3 && seen[2].text() == "3" && seen->text() == "1");
		throw 1;
	} catch (int) {
	}
	auto seen = consumer.peek<2>();
	std::string all;
	for (const auto &m : seen)
		all += m.text();
	CHECK(all == "12" && consumer.lag() == 3);
	seen.release(1);
	CHECK(consumer.lag() == 2);
	auto moved = std::move(seen);
	CHECK(moved.size() == 2 && !seen);
	seen.release(1, error);
	CHECK(error == std::errc::invalid_argument);
	CHECK_THROWS(std::errc::invalid_argument, moved.release(2));
	moved.release();
	CHECK(consumer.lag() == 1);
	moved.release(); /* nothing left: no harm */
	Message room[4];
	CHECK(consumer.peek(room) == 1 && room[0].text() == "3");
	consumer.release(1);
	CHECK(!consumer.peek(no_wait) && !consumer.ended());
	producer.close();
	CHECK(!consumer.peek() && consumer.ended());
}

TEST(batches_and_pieces)
{
	Producer producer(queue("q"), small);
	Consumer consumer(queue("q"));
	char one[] = "one", two[] = "two";
	const iovec pieces[] = {{one, 3}, {two, 3}};
	std::array<char, 256> buffer{};
	Message messages[8];

	CHECK(producer.push_pieces(pieces) && producer.push_batch(pieces) == 2);
	CHECK(consumer.pop_batch(messages, buffer, 3) == 3);
	CHECK(messages[0].text() == "onetwo" && messages[1].text() == "one" && messages[2].text() == "two");
	CHECK(consumer.pop_batch(messages, buffer, 1, no_wait) == 0);
	std::vector<iovec> many(1025, iovec{one, 0});
	CHECK_THROWS(std::errc::invalid_argument, producer.push_pieces(many));
	CHECK(producer.push_batch(std::vector<iovec>(10, iovec{one, 3}), no_wait) == 4);
}

TEST(options_reach_the_queue)
{
	QueueOptions options = QueueOptions{}.nodes(8).block(100).consumers(3).aligned(64).rights(0640).shared().described("of me");
	Producer producer(queue("q"), options.slow(SlowPolicy::demote, 50ms).with(MQSHM_TIMESTAMP_OWN));
	auto s = stat(queue("q"));
	auto info = producer.info();

	CHECK(s->node_count == 8 && s->block_size == 100 && s->max_consumers == 3 && s->align == 64 && s->mode == 0640);
	CHECK(s->flags == (MQSHM_SHARED | MQSHM_TIMESTAMP_OWN) && s->slow_policy == MQSHM_SLOW_DEMOTE && s->slow_ms == 50);
	CHECK(s.metadata() == "of me" && info.described() == "of me" && info.queue() == queue("q"));
	CHECK(s.producers().size() == 1 && s.producers()[0].pid == getpid() && s.consumers().empty());
	CHECK(!create(queue("q"), options));
	CHECK_THROWS(std::errc::file_exists, create(queue("q"), QueueOptions{}.nodes(9)));
	Consumer consumer(queue("q"));
	std::array<char, 100> buffer{};
	producer.set_timestamp(77);
	producer.push("x");
	CHECK(consumer.block_size() == 100 && consumer.pop(buffer)->timestamp_ns == 77);
	std::error_code error;
	ConsumerOptions late;
	late.wait = 20ms;
	CHECK(!Consumer::open(queue("none"), nullptr, late, error) && error);
	late.start = Start::beginning;
	Consumer second(queue("q"), late);
	CHECK(second.pop(buffer, no_wait).has_value());
	late.start = Start::latest;
	late.flags = MQSHM_LOSSY;
	Consumer third(queue("q"), late);
	CHECK(!third.pop(buffer, no_wait) && stat(queue("q")).consumers()[2].lossy);
}

TEST(named_consumers_resume)
{
	Producer producer(queue("q"), small);
	ConsumerOptions named;
	named.name = "plot";
	named.lease = 60s;
	std::array<char, 64> buffer{};
	{
		Consumer first(queue("q"), named);
		CHECK(!first.resumed());
	}
	producer.push("kept");
	Consumer second(queue("q"), named);
	CHECK(second.resumed() && !second.demoted() && second.pop(buffer, no_wait)->text() == "kept");
	second.leave();
	Consumer third(queue("q"), named);
	CHECK(!third.resumed());
	third.leave(); /* a lease would keep the queue */
	named.lease = 1000h;
	CHECK_THROWS(std::errc::invalid_argument, Consumer(queue("q"), named));
}

TEST(slow_ones_are_told_of)
{
	std::vector<std::uint32_t> told;
	ProducerOptions options;
	options.slow = [&told](const mqshm_slow &slow) { told.push_back(slow.id); };
	Producer opened(queue("q"), QueueOptions(small).slow(SlowPolicy::evict, 1ms), options);
	Producer producer = std::move(opened); /* the callback comes along */
	Consumer slow(queue("q")), other(queue("q"));
	std::array<char, 64> buffer{};

	for (int i = 0; i < 5; i++) {
		CHECK(producer.push("x", 10s));
		CHECK(other.pop(buffer, no_wait).has_value());
	}
	CHECK(told == std::vector<std::uint32_t>{slow.id()});
	CHECK_THROWS(std::errc::connection_aborted, slow.pop(buffer));
	evict(queue("q"), other.id());
	CHECK_THROWS(std::errc::connection_aborted, other.pop(buffer));
	CHECK_THROWS(std::errc::no_such_process, evict(queue("q"), 7));
}

TEST(waits_for_many)
{
	Producer a(queue("a"), small), b(queue("b"), small);
	Consumer ca(queue("a")), cb(queue("b"));
	std::vector<WaitItem> items{ca, cb, WaitItem()};

	CHECK(wait_any(items, no_wait) == 0 && wait_any(items, 2ms) == 0);
	b.push("x");
	CHECK(wait_any(items) == 1 && !items[0].ready() && items[1].ready() && !items[1].error());
	a.close();
	CHECK(wait_any(items) == 2 && items[0].error() == std::error_code(ESHUTDOWN, category()));
	WaitItem room(b);
	CHECK(wait_any({&room, 1}) == 1);
	std::error_code error;
	CHECK(wait_any({&items[2], 1}, no_wait, error) == 0 && error == std::errc::invalid_argument);
}

TEST(cancel_and_descriptors)
{
	Producer producer(queue("q"), small);
	Consumer consumer(queue("q"));
	std::array<char, 64> buffer{};
	std::thread canceller([&consumer] { consumer.cancel(); });

	CHECK_THROWS(std::errc::operation_canceled, consumer.pop(buffer));
	canceller.join();
	pollfd item{consumer.fd(), POLLIN, 0};
	CHECK(poll(&item, 1, 0) == 0);
	producer.push("x");
	CHECK(poll(&item, 1, 10000) == 1);
	pollfd room{producer.fd(), POLLIN, 0};
	CHECK(poll(&room, 1, 10000) == 1);
	producer.push("x"), producer.push("x"), producer.push("x");
	producer.cancel();
	CHECK_THROWS(std::errc::operation_canceled, producer.push("x"));
	CHECK(!producer.wait_drained(no_wait) && producer.wait_consumers(1) && !producer.wait_consumers(2, true, no_wait));
}

TEST(lists_and_collects)
{
	Producer a(queue("a"), small), b(queue("b"), small);
	std::vector<std::string> names;
	std::string name;
	int calls = 0;

	int all = list([&](const mqshm_stat &s) {
		if (std::string(s.name).find(prefix) == 0)
			names.push_back(s.name);
	});
	CHECK(names == (std::vector<std::string>{queue("a"), queue("b")}) && all >= 2);
	CHECK(list([&calls](const mqshm_stat &) { return ++calls < 1; }) == 1 && calls == 1);
	try {
		list([](const mqshm_stat &) { throw std::string("out of C"); });
		CHECK(false);
	} catch (const std::string &thrown) {
		CHECK(thrown == "out of C");
	}
	pid_t child = in_child([] {
		auto *lost = new Producer(queue("dead"), small);
		CHECK(lost);
		kill(getpid(), SIGKILL);
	});
	wait_for(child);
	std::error_code error;
	names.clear();
	int removed = gc(queue("dead").c_str(), [&](std::string_view, std::string_view what) { names.emplace_back(what); }, error);
	CHECK(removed == 1 && !error && !names.empty() && !exists(queue("dead")));
	CHECK_THROWS(std::errc::no_such_file_or_directory, gc("no-such-queue"));
	CHECK_THROWS(std::errc::device_or_resource_busy, mqshm::remove(queue("a")));
	mqshm::remove(queue("a"), true);
	CHECK_THROWS(std::error_code(ESTALE, category()), a.push("x"));
	CHECK_THROWS(std::errc::no_such_file_or_directory, stat(queue("a")));
	CHECK(std::string(version()) == MQSHM_VERSION);
}

TEST(logs)
{
	std::vector<std::string> lines;
	std::error_code inside;
	set_log(LogLevel::info, [&](LogLevel level, std::string_view name, std::string_view text) {
		lines.push_back(std::string(name) + ": " + std::string(text));
		CHECK(level == LogLevel::info);
		set_log(LogLevel::off, {}, inside);
	});
	{
		Producer producer(queue("q"), small);
	}
	CHECK(!lines.empty() && lines[0].find(queue("q") + ": ") == 0);
	CHECK(inside == std::errc::resource_deadlock_would_occur);
	set_log(LogLevel::off);
	auto count = lines.size();
	Producer producer(queue("q"), small);
	CHECK(lines.size() == count);
	std::error_code error;
	set_log(static_cast<LogLevel>(99), {}, error);
	CHECK(error == std::errc::invalid_argument);
}

TEST(a_child_is_refused)
{
	Producer producer(queue("q"), small);
	Consumer consumer(queue("q"));
	pid_t child = in_child([&] {
		std::array<char, 64> buffer{};
		CHECK_THROWS(std::errc::no_child_process, producer.push("x"));
		CHECK_THROWS(std::errc::no_child_process, consumer.pop(buffer));
		producer.close();
		consumer.close();
	});
	CHECK(wait_for(child) == 0);
	std::array<char, 64> buffer{};
	CHECK(producer.push("x") && consumer.pop(buffer));
}

TEST(between_processes)
{
	pid_t child = in_child([] {
		ConsumerOptions options;
		options.start = Start::oldest;
		options.wait = 30s;
		Consumer consumer(queue("q"), options);
		std::vector<int> buffer(16);
		int next = 0;
		while (auto m = consumer.pop(buffer))
			CHECK(m->as<int>().size() == 1 && m->as<int>()[0] == next++);
		CHECK(next == 10000 && consumer.ended());
	});
	{
		Producer producer(queue("q"), small);
		CHECK(producer.wait_consumers(1, true, 30s));
		for (int i = 0; i < 10000; i++)
			CHECK(producer.push(bytes_of(i)));
	}
	CHECK(wait_for(child) == 0 && !exists(queue("q")));
}
