/* SPDX-License-Identifier: MIT */
/*
 * No copies in C++17: 12,800-byte blocks of float written and read where they lie in the ring. A Reservation that is not
 * committed gives its room back, and what is not released is seen again: exceptions are safe.
 */
#include <mqshm.hpp>

#include <cstdio>
#include <stdexcept>

#include <unistd.h>

int main()
{
	constexpr std::size_t block = 3200 * sizeof(float);
	std::string name = "zero_copy-cpp-" + std::to_string(getpid());

	try {
		mqshm::Producer producer(name, mqshm::QueueOptions{}.nodes(16).block(block));
		mqshm::Consumer consumer(name);

		try {
			auto room = producer.reserve(block);
			throw std::runtime_error("the instrument says no");
		} catch (const std::runtime_error &) { /* the room was given back */
		}
		for (int i = 0; i < 4; i++) {
			auto room = producer.reserve(block);
			for (float &sample : room.as<float>())
				sample = static_cast<float>(i);
			room.commit();
		}
		float sum = 0;
		if (auto seen = consumer.peek<8>(mqshm::no_wait)) {
			for (const auto &message : seen)
				for (float sample : message.as<float>())
					sum += sample;
			std::printf("%zu blocks, sum %.0f\n", seen.size(), static_cast<double>(sum));
			seen.release();
		}
		return sum == 3200 * (0 + 1 + 2 + 3) && consumer.lag() == 0 ? 0 : 1;
	} catch (const mqshm::Error &error) {
		std::fprintf(stderr, "%s\n", error.what());
		return 1;
	}
}
