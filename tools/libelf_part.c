/*
 * Stands in for two functions that the libelf.a of elfutils 0.192, as Debian 13 packages
 * it, calls and does not contain. They set up and take down the tree of raw chunks
 * (elf_getdata_rawchunk), which libbpf never asks for. If anything did, the functions that
 * search the tree would be missing too, and the program would not link.
 */
void eu_search_tree_init(void *tree);
void eu_search_tree_fini(void *tree, void (*free_node)(void *));

void eu_search_tree_init(void *tree)
{
	(void)tree;
}

void eu_search_tree_fini(void *tree, void (*free_node)(void *))
{
	(void)tree;
	(void)free_node;
}
