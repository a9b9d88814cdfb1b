// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses 800 blocks of four pages, and four a second more. */
#define PAGES_ORDER 2
#define PAGES_COUNT 800
#define PAGES_FUNCTION pages2_lose
#include "sysaktest_pages.h"

MODULE_DESCRIPTION("loses blocks of four pages on purpose");
