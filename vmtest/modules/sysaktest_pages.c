// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses 3,000 single pages, and four a second more. */
#define PAGES_ORDER 0
#define PAGES_COUNT 3000
#define PAGES_FUNCTION pages_lose
#include "sysaktest_pages.h"

MODULE_DESCRIPTION("loses single pages on purpose");
