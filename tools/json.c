/* SPDX-License-Identifier: MIT */
/*
 * JSON strings and base64. Called by stat, list and pop for --json. What comes out is valid JSON whatever bytes go
 * in: valid UTF-8 is kept, any other byte XX becomes \u00XX (so the exact bytes are given in base64 beside it).
 */
#include "tool.h"

/* The length of the UTF-8 sequence at bytes, 0 if it is not one: too short, overlong, a surrogate, above 10FFFF. */
size_t utf8_length(const uint8_t *bytes, size_t size)
{
	size_t length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc2 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3
		      : bytes[0] < 0xf5 ? 4 : 0;

	if (length > size)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	if (length > 2) {
		if ((bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xed && bytes[1] > 0x9f) ||
		    (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] > 0x8f))
			return 0;
	}
	return length;
}

/* Those above 0x7f too: some terminals take U+009B for ESC [. */
size_t printable_length(const uint8_t *bytes, size_t size)
{
	size_t length = utf8_length(bytes, size);

	return bytes[0] < ' ' || bytes[0] == 0x7f || (length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0) ? 0 : length;
}

void json_string(FILE *out, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	fputc('"', out);
	for (size_t i = 0; i < size;) {
		size_t length = utf8_length(bytes + i, size - i);

		length = length ? length : 1;
		if (bytes[i] == '"' || bytes[i] == '\\')
			fprintf(out, "\\%c", bytes[i]);
		else if (printable_length(bytes + i, size - i))
			fwrite(bytes + i, 1, length, out);
		else
			fprintf(out, "\\u%04x", bytes[i + length - 1]); /* of U+0080 to U+009F that is the second byte */
		i += length;
	}
	fputc('"', out);
}

size_t base64_size(size_t size)
{
	return (size + 2) / 3 * 4;
}

size_t base64_encode(char *out, const void *data, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *in = data;
	char *to = out;

	for (; size >= 3; in += 3, size -= 3) {
		*to++ = digits[in[0] >> 2];
		*to++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
		*to++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
		*to++ = digits[in[2] & 63];
	}
	if (size) {
		uint8_t second = size == 2 ? in[1] : 0;

		*to++ = digits[in[0] >> 2];
		*to++ = digits[(in[0] & 3) << 4 | second >> 4];
		*to++ = size == 2 ? digits[(second & 15) << 2] : '=';
		*to++ = '=';
	}
	return (size_t)(to - out);
}
