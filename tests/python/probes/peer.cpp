/* SPDX-License-Identifier: MIT */
/* The other side of a RingQueue in Python: sends back what it gets, timestamps too, until an empty message comes. */
#include <mqshm/multiqueue.hpp>

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	multiqueue::QueueConfig config;
	config.has_timestamp = true;
	config.capacity = 5;
	config.block_size = 100;
	config.timeout_ms = -1;
	config.user_metadata = "from C++";
	multiqueue::RingQueue in(argv[1], config), out(argv[2], config);
	for (;;) {
		auto item = in.pop();
		if (!item || item->data.empty())
			break;
		out.push(item->data.data(), item->data.size(), item->timestamp);
	}
	out.push("", 0);
	return 0;
}
