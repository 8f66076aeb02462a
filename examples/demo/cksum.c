/* SPDX-License-Identifier: MIT */
/*
 * The checksum of cksum(1), POSIX: a CRC of 32 bits, most significant bit first, over the data and then its length.
 * Anybody can look at the demo's fingers with `cksum FILE`.
 */
#include "demo.h"

#define POLYNOMIAL 0x04c11db7u

static uint32_t table[256];

static void fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i << 24;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 0x80000000u ? crc << 1 ^ POLYNOMIAL : crc << 1;
		table[i] = crc;
	}
}

uint32_t cksum_add(uint32_t sum, const void *data, size_t size)
{
	const unsigned char *byte = data;

	if (!table[1])
		fill_table();
	while (size--)
		sum = sum << 8 ^ table[sum >> 24 ^ *byte++];
	return sum;
}

uint32_t cksum_end(uint32_t sum, uint64_t length)
{
	for (; length; length >>= 8) {
		unsigned char low = (unsigned char)length;

		sum = cksum_add(sum, &low, 1);
	}
	return ~sum;
}
