/* SPDX-License-Identifier: MIT */
/* What is left with -fno-exceptions and -fno-rtti: all that takes an error_code. */
#include <array>

#include "check.hpp"

static_assert(!MQSHM_HPP_EXCEPTIONS);

using namespace mqshm;

TEST(works_without_exceptions)
{
	std::error_code error;
	QueueOptions small = QueueOptions{}.nodes(2).block(64);
	Producer producer = Producer::open(queue("q"), &small, {}, error);
	CHECK(producer && !error);
	Consumer consumer = Consumer::open(queue("q"), nullptr, {}, error);
	CHECK(consumer && !error);
	CHECK(!Producer::open(queue("q"), nullptr, {}, error) && error == std::errc::device_or_resource_busy);
	CHECK(error.message().find("live producer") != std::string::npos);
	std::array<char, 64> buffer{};
	CHECK(producer.push("text", no_wait, error));
	auto room = producer.reserve(4, no_wait, error);
	room.commit(4, error);
	CHECK(!error && !producer.push("full", 1ms, error) && error == std::errc::timed_out);
	CHECK(consumer.pop(buffer, no_wait, error)->text() == "text");
	auto seen = consumer.peek<4>(no_wait, error);
	seen.release(error);
	CHECK(!error && consumer.lag(error) == 0 && consumer.missed(error) == 0 && consumer.fd(error) >= 0);
	CHECK(list([](const mqshm_stat &) {}, error) >= 1 && !error && stat(queue("q"), error)->total_pushed == 2);
	producer.close();
	CHECK(!consumer.pop(buffer, forever, error) && error == std::error_code(ESHUTDOWN, category()));
	set_log(LogLevel::off, {}, error);
	CHECK(!error && gc(nullptr, error) >= 0 && !create("control", small, error) && error == std::errc::invalid_argument);
}
