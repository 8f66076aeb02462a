/* SPDX-License-Identifier: MIT */
/*
 * The smallest use in C++17: one process pushes three messages, another one pops them. Objects close themselves; errors are
 * exceptions that say why in words.
 */
#include <mqshm.hpp>

#include <array>
#include <cstdio>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

static const std::array<std::string_view, 3> words{"hello", "shared", "world"};

static int consume(const std::string &name)
{
	mqshm::ConsumerOptions options;
	options.start = mqshm::Start::oldest; /* also what was pushed before we came */
	options.wait = 1s;		      /* the producer may not have made the queue yet */
	mqshm::Consumer consumer(name, options);
	std::array<char, 64> buffer;
	std::size_t seen = 0, wrong = 0;

	while (auto message = consumer.pop(buffer, 1s)) {
		std::printf("message %d: %.*s\n", static_cast<int>(message->sequence), static_cast<int>(message->size),
			    message->text().data());
		wrong += seen >= words.size() || message->text() != words[seen];
		seen++;
	}
	/* ended(): the producer closed and everything is read; else a second went by. */
	return consumer.ended() && seen == words.size() && !wrong ? 0 : 1;
}

static int produce(const std::string &name)
{
	mqshm::Producer producer(name, mqshm::QueueOptions{}.block(64));

	/* A queue goes away with its last user: don't leave before somebody has come. */
	if (!producer.wait_consumers(1, true, 1s))
		return 1;
	for (auto word : words)
		if (!producer.push(word, 1s))
			return 1;
	return 0;
}

int main()
{
	std::string name = "hello-cpp-" + std::to_string(getpid());
	pid_t child = fork();
	int status = 1;

	try {
		if (child == 0)
			return consume(name);
		int result = produce(name);
		wait(&status);
		return result || status;
	} catch (const mqshm::Error &error) {
		std::fprintf(stderr, "%s: %s\n", child ? "producer" : "consumer", error.what());
		return 1;
	}
}
