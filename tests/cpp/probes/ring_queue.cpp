/* SPDX-License-Identifier: MIT */
/* multiqueue::RingQueue: the semantics of docs/migration.md. */
#include <atomic>
#include <set>
#include <thread>

#include "check.hpp"

using namespace multiqueue;
using mqshm::span;

static QueueConfig config(std::size_t capacity, BlockingMode mode = BlockingMode::BLOCKING)
{
	QueueConfig c;
	c.capacity = capacity;
	c.blocking_mode = mode;
	c.timeout_ms = 10;
	c.block_size = 64;
	return c;
}

static bool put(RingQueue &q, const std::string &text)
{
	return q.try_push(text.data(), text.size());
}

static std::string get(RingQueue &q)
{
	auto item = q.try_pop();
	return item ? std::string(item->text()) : "-";
}

TEST(takes_exactly_its_capacity)
{
	for (std::size_t n : {1u, 2u, 3u, 7u, 8u, 100u}) {
		RingQueue q(queue("q"), config(n));
		CHECK(q.capacity() == n && q.empty() && !q.full() && q.size() == 0);
		for (std::size_t i = 0; i < n; i++) {
			CHECK(!q.full() && q.size() == i);
			CHECK(put(q, std::to_string(i)));
		}
		CHECK(q.full() && q.size() == n && !q.empty());
		CHECK(!put(q, "more") && !q.push("more", 4) && !q.push_with_timeout("more", 4, 1));
		CHECK(q.size() == n);
		CHECK(get(q) == "0" && !q.full() && q.size() == n - 1);
		CHECK(put(q, "one") && !put(q, "two") && q.full());
		for (std::size_t i = 1; i < n; i++)
			CHECK(get(q) == std::to_string(i));
		CHECK(get(q) == "one" && get(q) == "-" && q.empty() && !q.pop());
	}
	CHECK(!exists(queue("q")));
}

TEST(who_only_pushes_keeps_everything)
{
	RingQueue a(queue("q"), config(4)), b(queue("q"), config(4)), c(queue("q"), config(4));
	CHECK(put(a, "1") && put(a, "2") && put(b, "3") && put(a, "4") && !put(b, "5") && a.full() && b.full() && c.full());
	CHECK(c.size() == 4);
	CHECK(get(c) == "1"); /* the first to pop adopts the cursor */
	CHECK(put(a, "5") && !put(a, "6") && a.full() && c.full());
	CHECK(get(c) == "2" && get(c) == "3" && get(c) == "4" && get(c) == "5" && get(c) == "-");
	CHECK(a.empty() && !a.full());
	CHECK(a.get_stats().total_pushed == 5 && a.get_stats().total_popped == 5);
	CHECK(get(a) != "-"); /* a later one: from the oldest that is still there */
}

TEST(a_pushes_and_b_pops_for_ever)
{
	RingQueue a(queue("q"), config(8));
	pid_t child = in_child([] {
		RingQueue b(queue("q"), config(8));
		for (int i = 0; i < 800; i++) {
			auto item = b.pop_with_timeout(30000);
			CHECK(item && item->text() == std::to_string(i));
		}
	});
	for (int i = 0; i < 800; i++) {
		std::string text = std::to_string(i);
		CHECK(a.push_with_timeout(text.data(), text.size(), 30000));
	}
	CHECK(wait_for(child) == 0);
	for (int i = 0; i < 80; i++) { /* and without anybody: nobody holds us back */
		CHECK(!a.full());
		CHECK(put(a, "x"));
	}
}

TEST(a_reader_that_dies_holds_nobody_back)
{
	RingQueue a(queue("q"), config(4));
	pid_t child = in_child([] {
		RingQueue b(queue("q"), config(4));
		b.try_pop();
		kill(getpid(), SIGKILL);
	});
	CHECK(WIFSIGNALED(wait_for(child)));
	for (int i = 0; i < 40; i++) {
		CHECK(!a.full());
		CHECK(put(a, "x"));
	}
}

TEST(every_object_gets_every_message)
{
	RingQueue a(queue("q"), config(8)), b(queue("q"), config(8));
	CHECK(get(a) == "-" && get(b) == "-");
	CHECK(put(a, "1") && put(b, "2"));
	CHECK(get(a) == "1" && get(b) == "1" && get(a) == "2" && get(b) == "2" && get(a) == "-" && get(b) == "-");
	CHECK(a.get_stats().consumer_count == 2 && a.get_stats().producer_count == 2);
}

TEST(a_full_one_overwrites_the_oldest)
{
	for (std::size_t n : {1u, 2u, 4u, 7u, 16u, 100u, 1000u}) {
		RingQueue q(queue("q"), config(n, BlockingMode::NON_BLOCKING));
		std::size_t pushed = 0;
		CHECK(q.capacity() == n);
		for (std::size_t i = 0; i < 3 * n + 1; i++) {
			std::string text = std::to_string(pushed++);
			text.resize(std::max(text.size(), pushed * 7 % 65), ' '); /* of all sizes */
			CHECK(put(q, text) && q.size() == std::min(pushed, n) && q.full() == (pushed >= n));
		}
		auto stats = q.get_stats();
		CHECK(stats.overwrite_count == pushed - n && stats.total_popped == 0 && stats.current_size == n);
		CHECK(q.peek() && std::stoul(std::string(q.peek()->text())) == pushed - n && q.size() == n);
		for (std::size_t i = pushed - n; i < pushed; i++)
			CHECK(std::stoul(get(q)) == i);
		CHECK(get(q) == "-" && q.empty() && q.get_stats().total_popped == n && q.get_stats().overwrite_count == pushed - n);
		for (std::size_t i = 0; i < 5 * n; i++) /* now with a cursor that is lapped */
			CHECK(put(q, std::to_string(pushed++)) && q.size() == std::min(i + 1, n));
		CHECK(get(q) == std::to_string(pushed - n) && q.size() == n - 1);
		CHECK(q.get_stats().overwrite_count == pushed - n - n);
		CHECK(q.get_stats().total_popped == n + 1);
		for (std::size_t i = 1; i < n; i++)
			CHECK(get(q) == std::to_string(pushed - n + i));
		CHECK(!q.pop());
	}
}

TEST(capacity_of_an_overwriting_one_is_told_right)
{
	for (std::size_t n = 1; n < 5000; n++)
		CHECK(detail::overwrite_capacity(detail::overwrite_nodes(n)) == n);
	for (std::size_t n : {1u << 20, (1u << 29) - 1, 1u << 29})
		CHECK(detail::overwrite_capacity(detail::overwrite_nodes(n)) == n && detail::overwrite_nodes(n) <= MQSHM_NODES_MAX);
}

TEST(never_torn_when_overwritten)
{
	QueueConfig c = config(4, BlockingMode::NON_BLOCKING);
	c.block_size = 4096;
	RingQueue q(queue("q"), c);
	std::atomic<bool> stop{false};
	std::thread pusher([&q, &stop] {
		std::vector<std::uint64_t> block(512);
		for (std::uint64_t i = 1; !stop; i++) {
			for (auto &word : block)
				word = i;
			CHECK(q.push(block.data(), 4096));
		}
	});
	std::uint64_t last = 0, got = 0;
	for (int i = 0; got < 2000 && i < 50000000; i++) {
		auto item = i % 3 ? q.try_pop() : q.peek();
		if (!item)
			continue;
		auto *words = reinterpret_cast<const std::uint64_t *>(item->data.data());
		bool whole = item->data.size() == 4096;
		for (int w = 1; whole && w < 512; w++)
			whole = words[w] == words[0];
		CHECK(whole && words[0] >= last);
		if (!whole)
			break;
		last = words[0];
		got++;
	}
	stop = true;
	pusher.join();
	CHECK(got == 2000);
}

TEST(timestamps)
{
	QueueConfig c = config(8);
	c.has_timestamp = true;
	RingQueue own(queue("own"), c), plain(queue("plain"), config(8));
	char buffer[64];
	std::size_t size = 99;
	std::uint64_t timestamp = 99;

	CHECK(own.push("a", 1, 5) && own.push("b", 1, 0) && own.try_push("c", 1) && own.push_with_timeout("d", 1, 1, ~0ull));
	CHECK(own.pop(buffer, 64, &size, &timestamp) && timestamp == 5 && size == 1);
	CHECK(own.pop(buffer, 64, &size, &timestamp) && timestamp == 0);
	CHECK(own.pop()->timestamp > 1600000000000000000u);
	CHECK(own.peek()->timestamp == ~0ull && own.pop()->timestamp == ~0ull);
	CHECK(plain.push("a", 1, 5) && plain.pop()->timestamp > 1600000000000000000u);
}

TEST(joins_what_is_there)
{
	QueueConfig c = config(8);
	c.user_metadata = "made first";
	c.queue_name = queue("q");
	RingQueue a(c);
	RingQueue b(queue("q"));
	CHECK(b.capacity() == 8 && b.block_size() == 64 && b.metadata() == "made first" && b.config().capacity == 8);
	CHECK(a.name() == queue("q") && put(a, "x") && get(b) == "x");
	CHECK_THROWS(std::errc::file_exists, RingQueue(queue("q"), config(8, BlockingMode::NON_BLOCKING)));
	c.has_timestamp = true;
	CHECK_THROWS(std::errc::file_exists, RingQueue(queue("q"), c));
	mqshm::Producer other(queue("other"), mqshm::QueueOptions{}.nodes(8));
	CHECK_THROWS(std::errc::file_exists, RingQueue(queue("other"), config(8)));
	mqshm::Consumer listens(queue("other"));
	char buffer[64];
	other.close();
	CHECK(!listens.pop(buffer, mqshm::no_wait) && listens.ended());
	CHECK_THROWS(std::errc::file_exists, RingQueue(queue("other"), config(8)));
	CHECK(mqshm::stat(queue("other"))->producer_state == MQSHM_PRODUCER_CLOSED); /* it was only looked at */
	RingQueue n1(queue("n"), config(9, BlockingMode::NON_BLOCKING)), n2(queue("n"), config(3, BlockingMode::NON_BLOCKING));
	CHECK(n2.capacity() == 9);
	CHECK_THROWS(std::errc::file_exists, RingQueue(queue("n"), config(9)));
	CHECK_THROWS(std::errc::invalid_argument, RingQueue("", config(8)));
	CHECK_THROWS(std::errc::invalid_argument, RingQueue(queue("z"), config(0)));
	CHECK_THROWS(std::errc::invalid_argument, RingQueue(queue("z"), config((1u << 29) + 1)));
	c.block_size = 0;
	CHECK_THROWS(std::errc::invalid_argument, RingQueue(queue("z"), c));
	c.block_size = 64;
	c.user_metadata = std::string(257, 'x');
	CHECK_THROWS(std::errc::invalid_argument, RingQueue(queue("z"), c));
}

TEST(buffers_and_sizes)
{
	RingQueue q(queue("q"), config(4));
	char buffer[64];
	std::size_t size = 0;

	CHECK_THROWS(std::errc::message_size, q.push(buffer, 65));
	CHECK(q.push("", 0) && q.push("12345", 5));
	CHECK(q.pop(buffer, 0, &size) && size == 0);
	CHECK_THROWS(std::errc::message_size, q.pop(buffer, 4, &size));
	CHECK(size == 5 && q.size() == 1);
	CHECK(q.peek()->text() == "12345" && q.peek() && q.size() == 1);
	CHECK(q.pop_with_timeout(buffer, 5, 0, &size) && std::memcmp(buffer, "12345", 5) == 0);
	CHECK(!q.try_pop(buffer, 64) && !q.peek() && !q.pop_with_timeout(1) && !q.pop(buffer, 64));
}

TEST(a_waiting_pop_blocks_nobody)
{
	RingQueue q(queue("q"), config(4));
	std::optional<Item> got;
	std::thread waits([&] { got = q.pop_with_timeout(-1); });

	while (q.get_stats().consumer_count == 0)
		std::this_thread::yield();
	for (int i = 0; i < 100; i++)
		CHECK(!q.try_pop() && !q.peek() && q.empty() && q.size() == 0 && !q.full() && !q.pop_with_timeout(0));
	CHECK(!q.pop()); /* its own 10 ms */
	CHECK(put(q, "x"));
	waits.join();
	CHECK(got && got->text() == "x");
}

TEST(a_waiting_push_blocks_nobody)
{
	RingQueue q(queue("q"), config(2));
	CHECK(put(q, "1") && put(q, "2"));
	bool pushed = false;
	std::thread waits([&] { pushed = q.push_with_timeout("3", 1, -1); });

	for (int i = 0; i < 100; i++)
		CHECK(!put(q, "4") && q.full());
	CHECK(get(q) == "1");
	waits.join();
	CHECK(pushed && get(q) == "2" && get(q) == "3" && get(q) == "-");
}

TEST(many_threads_of_one_object)
{
	constexpr int threads = 4, each = 2000;
	RingQueue q(queue("q"), config(16));
	std::vector<std::thread> all;
	std::mutex mutex;
	std::multiset<std::string> got;

	for (int t = 0; t < threads; t++) {
		all.emplace_back([&q, t] {
			for (int i = 0; i < each; i++) {
				std::string text = std::to_string(t * each + i);
				CHECK(q.push_with_timeout(text.data(), text.size(), 30000));
			}
		});
		all.emplace_back([&] {
			for (int i = 0; i < each; i++) {
				auto item = q.pop_with_timeout(30000);
				std::lock_guard<std::mutex> lock(mutex);
				CHECK(item.has_value());
				if (item)
					got.emplace(item->text());
			}
		});
	}
	for (auto &thread : all)
		thread.join();
	CHECK(got.size() == threads * each && std::set<std::string>(got.begin(), got.end()).size() == threads * each);
	CHECK(q.empty() && q.get_stats().total_popped == threads * each);
}

TEST(several_processes_push)
{
	RingQueue q(queue("q"), config(8));
	pid_t children[3];
	for (int p = 0; p < 3; p++)
		children[p] = in_child([p] {
			RingQueue mine(queue("q"), config(8));
			for (int i = 0; i < 500; i++) {
				std::string text = std::to_string(p) + " " + std::to_string(i);
				CHECK(mine.push_with_timeout(text.data(), text.size(), 30000));
			}
		});
	int next[3] = {};
	for (int i = 0; i < 1500; i++) {
		auto item = q.pop_with_timeout(30000);
		CHECK(item.has_value());
		if (!item)
			return;
		int p = item->text()[0] - '0';
		CHECK(std::stoi(std::string(item->text().substr(2))) == next[p]++);
	}
	for (pid_t child : children)
		CHECK(wait_for(child) == 0);
}

TEST(try_push_is_false_only_when_full)
{
	RingQueue q(queue("q"), config(1 << 15));
	pid_t child = in_child([] {
		RingQueue mine(queue("q"), config(1 << 15));
		for (int i = 0; i < 1 << 14; i++)
			CHECK(put(mine, "x"));
	});
	for (int i = 0; i < 1 << 14; i++)
		CHECK(put(q, "y"));
	CHECK(wait_for(child) == 0 && !put(q, "z") && q.full());
}

TEST(close_ends_waits)
{
	RingQueue q(queue("q"), config(1)), other(queue("q"), config(1));
	for (int round = 0; round < 50; round++) { /* at many moments of the waits */
		std::optional<RingQueue> o(std::in_place, queue("c"), config(1));
		CHECK(put(*o, "x"));
		std::atomic<int> ready{0};
		std::thread pops([&] {
			ready++;
			CHECK_THROWS(std::errc::bad_file_descriptor, while (true) o->peek(), o->pop_with_timeout(-1));
		});
		std::thread pushes([&] {
			ready++;
			CHECK_THROWS(std::errc::bad_file_descriptor, while (true) o->push_with_timeout("y", 1, -1));
		});
		while (ready < 2)
			std::this_thread::yield();
		usleep(static_cast<useconds_t>(round) * 20);
		o->close();
		pops.join();
		pushes.join();
		CHECK(o->is_closed() && o->get_stats().is_closed);
		o->close();
	}
	CHECK(!q.is_closed());
	q.close();
	CHECK_THROWS(std::errc::bad_file_descriptor, q.push("x", 1));
	CHECK_THROWS(std::errc::bad_file_descriptor, q.try_pop());
	CHECK_THROWS(std::errc::bad_file_descriptor, q.size());
	CHECK_THROWS(std::errc::bad_file_descriptor, q.full());
	CHECK(q.capacity() == 1 && put(other, "x"));
	other.close();
	CHECK(!exists(queue("q")));
}

TEST(signals_end_waits)
{
	RingQueue q(queue("q"), config(1));
	struct sigaction action = {};
	action.sa_handler = [](int) {};
	sigaction(SIGUSR1, &action, nullptr);
	std::atomic<bool> done{false};
	pthread_t self = pthread_self();
	std::thread knocks([&] {
		while (!done) {
			pthread_kill(self, SIGUSR1);
			usleep(1000);
		}
	});
	CHECK(!q.pop_with_timeout(-1));
	CHECK(put(q, "x"));
	CHECK(!q.push_with_timeout("y", 1, -1));
	done = true;
	knocks.join();
	CHECK(get(q) == "x");
}

TEST(statistics)
{
	RingQueue q(queue("q"), config(4));
	auto s = q.get_stats();
	CHECK(s.total_pushed == 0 && s.created_at > 1600000000000000000u && s.last_write_time == 0 && s.last_read_time == 0);
	CHECK(s.producer_count == 1 && s.consumer_count == 0 && s.capacity == 4 && !s.is_closed && s.overwrite_count == 0);
	CHECK(put(q, "1") && put(q, "2") && get(q) == "1");
	s = q.get_stats();
	CHECK(s.total_pushed == 2 && s.total_popped == 1 && s.current_size == 1 && s.consumer_count == 1 && s.overwrite_count == 0);
	CHECK(s.last_write_time >= s.created_at && s.last_read_time > 1600000000000000000u);
}

TEST(a_persistent_one_is_joined)
{
	mqshm::create(queue("q"), mqshm::QueueOptions{}.nodes(8).block(64).consumers(64).shared().hold().persistent());
	{
		RingQueue a(queue("q"), config(4));
		CHECK(a.capacity() == 8 && put(a, "kept"));
	}
	{
		RingQueue b(queue("q"));
		CHECK(b.size() == 1 && get(b) == "kept");
	}
	mqshm::remove(queue("q"));
}

TEST(removed_and_made_again)
{
	RingQueue a(queue("q"), config(4));
	mqshm::remove(queue("q"), true);
	CHECK_THROWS(std::error_code(ESTALE, mqshm::category()), put(a, "x"));
	RingQueue b(queue("q"), config(4));
	CHECK(put(b, "new"));
	CHECK_THROWS(std::error_code(ESTALE, mqshm::category()), a.try_pop());
	CHECK(get(b) == "new");
}

TEST(a_child_is_refused)
{
	auto *q = new RingQueue(queue("q"), config(4));
	CHECK(put(*q, "x") && get(*q) == "x");
	std::atomic<bool> started{false};
	std::thread waits([&] {
		started = true;
		q->pop_with_timeout(-1);
	});
	while (!started || q->try_pop())
		std::this_thread::yield();
	usleep(20000); /* it most likely holds the mutex; if not, the child has less to stumble over */
	pid_t child = in_child([q] {
		CHECK_THROWS(std::errc::no_child_process, q->push("x", 1));
		CHECK_THROWS(std::errc::no_child_process, q->pop_with_timeout(-1));
		delete q;
	});
	CHECK(wait_for(child) == 0 && put(*q, "x"));
	waits.join();
	delete q;
	CHECK(!exists(queue("q")));
}
