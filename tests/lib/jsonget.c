// SPDX-License-Identifier: GPL-2.0-only
/*
 * JSON on standard input, for tests:
 *
 *	jsonget .pairs[0].name		print a value; a text without its quotes
 *	jsonget --schema FILE		say where it differs from a JSON schema
 *
 * Of JSON Schema it knows type, properties, required, additionalProperties
 * (false, or a schema), items, enum, minimum and $ref to $defs; a schema with
 * anything else is an error, so that nothing is left unchecked silently.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct json_object json;

static json *root;
static int findings;

static void find(const char *where, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("%s: ", *where ? where : ".");
	vprintf(fmt, args);
	putchar('\n');
	va_end(args);
	findings++;
}

static bool has_type(json *value, const char *type)
{
	switch (json_object_get_type(value)) {
	case json_type_null:
		return !strcmp(type, "null");
	case json_type_boolean:
		return !strcmp(type, "boolean");
	case json_type_int:
		return !strcmp(type, "integer") || !strcmp(type, "number");
	case json_type_double:
		return !strcmp(type, "number");
	case json_type_string:
		return !strcmp(type, "string");
	case json_type_array:
		return !strcmp(type, "array");
	default:
		return !strcmp(type, "object");
	}
}

static void check_type(const char *where, json *value, json *types)
{
	size_t i;

	if (!json_object_is_type(types, json_type_array)) {
		if (!has_type(value, json_object_get_string(types)))
			find(where, "is %s, not a %s", json_object_to_json_string(value),
			     json_object_get_string(types));
		return;
	}
	for (i = 0; i < json_object_array_length(types); i++) {
		if (has_type(value, json_object_get_string(json_object_array_get_idx(types, i))))
			return;
	}
	find(where, "is %s, none of %s", json_object_to_json_string(value),
	     json_object_get_string(types));
}

static void check_enum(const char *where, json *value, json *allowed)
{
	size_t i;

	for (i = 0; i < json_object_array_length(allowed); i++) {
		if (json_object_equal(value, json_object_array_get_idx(allowed, i)))
			return;
	}
	find(where, "is %s, none of %s", json_object_to_json_string(value),
	     json_object_to_json_string(allowed));
}

static void check(const char *where, json *value, json *schema);

static void check_members(const char *where, json *value, json *schema)
{
	json *properties = json_object_object_get(schema, "properties");
	json *others = json_object_object_get(schema, "additionalProperties");
	json *required = json_object_object_get(schema, "required"), *its;
	char inner[512];
	size_t i;

	for (i = 0; required && i < json_object_array_length(required); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(required, i));

		if (!json_object_object_get_ex(value, name, NULL))
			find(where, "%s is missing", name);
	}
	json_object_object_foreach(value, name, member) {
		snprintf(inner, sizeof(inner), "%s.%s", where, name);
		its = json_object_object_get(properties, name);
		if (its)
			check(inner, member, its);
		else if (json_object_is_type(others, json_type_object))
			check(inner, member, others);
		else if (others && !json_object_get_boolean(others))
			find(inner, "is not in the schema");
	}
}

static void check_items(const char *where, json *value, json *schema)
{
	json *items = json_object_object_get(schema, "items");
	char inner[512];
	size_t i;

	for (i = 0; items && i < json_object_array_length(value); i++) {
		snprintf(inner, sizeof(inner), "%s[%zu]", where, i);
		check(inner, json_object_array_get_idx(value, i), items);
	}
}

static json *referred(const char *where, json *schema)
{
	json *ref = json_object_object_get(schema, "$ref");
	const char *name;

	if (!ref)
		return schema;
	name = json_object_get_string(ref);
	if (!strncmp(name, "#/$defs/", 8))
		schema = json_object_object_get(json_object_object_get(root, "$defs"), name + 8);
	else
		schema = NULL;
	if (!schema)
		find(where, "the schema refers to %s, which is not there", name);
	return schema;
}

static void check(const char *where, json *value, json *schema)
{
	static const char * const known[] = {
		"$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties",
		"required", "additionalProperties", "items", "enum", "minimum",
	};
	unsigned int i;

	schema = referred(where, schema);
	if (!schema)
		return;
	json_object_object_foreach(schema, name, content) {
		for (i = 0; i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], name); i++)
			;
		if (i == sizeof(known) / sizeof(known[0]))
			find(where, "the schema has %s, which this program does not know", name);
		else if (!strcmp(name, "type"))
			check_type(where, value, content);
		else if (!strcmp(name, "enum"))
			check_enum(where, value, content);
		else if (!strcmp(name, "minimum") &&
			 json_object_get_double(value) < json_object_get_double(content))
			find(where, "is less than %s", json_object_get_string(content));
	}
	if (json_object_is_type(value, json_type_object))
		check_members(where, value, schema);
	if (json_object_is_type(value, json_type_array))
		check_items(where, value, schema);
}

/* .name and [number], one after the other. */
static int get(json *value, const char *path)
{
	char name[128];
	int index, len;

	while (*path) {
		if (sscanf(path, ".%127[^.[]%n", name, &len) == 1) {
			if (!json_object_object_get_ex(value, name, &value))
				return 1;
		} else if (sscanf(path, "[%d]%n", &index, &len) == 1) {
			value = json_object_array_get_idx(value, index);
		} else {
			return 2;
		}
		path += len;
	}
	puts(value ? json_object_get_string(value) : "null");
	return 0;
}

int main(int argc, char **argv)
{
	json *value = json_object_from_fd(0);

	if (!value) {
		fprintf(stderr, "jsonget: not JSON: %s\n", json_util_get_last_err());
		return 2;
	}
	if (argc == 2)
		return get(value, argv[1]);
	if (argc != 3 || strcmp(argv[1], "--schema"))
		return 2;
	root = json_object_from_file(argv[2]);
	if (!root) {
		fprintf(stderr, "jsonget: %s\n", json_util_get_last_err());
		return 2;
	}
	check("", value, root);
	return findings != 0;
}
