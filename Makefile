# Each target first installs what it needs, as root, and skips that if everything is installed.
# Debian and Ubuntu are tested; support for the Fedora family is written, but untested.

.DEFAULT_GOAL := help
.PHONY: help run build man test vmtest damage fuzz fuzz-replay miri mutants bench lint clean
.NOTPARALLEL:

# Where rustup puts cargo, for shells that do not know.
export PATH := $(HOME)/.cargo/bin:$(PATH)

help:
	@echo 'make run           build, then look at this machine (needs root); ARGS= also watches'
	@echo '                   allocations, for some 15 s more; ARGS="--lang zh" in Chinese'
	@echo 'make build         the fully static binary: target/dist/sysak'
	@echo 'make man           the manual pages: target/man'
	@echo 'make test          all tests; boots Linux 6.1 and 6.12 in QEMU'
	@echo 'make vmtest        the guests only; KERNEL=5.10 chooses one, ONLY=dumps a part'
	@echo 'make damage        dumps with damaged words: is anything accused falsely, or missed?'
	@echo 'make fuzz-replay   the fuzzers'\'' seeds for a minute a parser; MS=600000 for ten'
	@echo 'make fuzz          one parser, with cargo-fuzz and nightly Rust: TARGET=btf SECONDS=600'
	@echo 'make miri          unit tests of base and symbols under Miri; nightly Rust'
	@echo 'make mutants       do the tests notice changes in verdict, rank and confirm?'
	@echo 'make bench         side-by-side measurements; MANY=1 adds 20 million real objects;'
	@echo '                   PEERS=no leaves out other tools, 1 GB to download (docs/performance.md)'
	@echo 'make lint          format, clippy, rules of the project, licences'
	@echo 'make clean         removes target/'

run: ARGS ?= --check
run: build
	@tools/run.sh $(ARGS)

build:
	@tools/setup.sh build
	@tools/build.sh

test:
	@tools/setup.sh test
	@tools/test.sh

vmtest:
	@tools/setup.sh $(if $(filter kdump all,$(ONLY)),crash,test)
	@tools/build.sh
	tools/with-libelf.sh cargo run --quiet -p vmtest -- --sysak target/dist/sysak \
		$(foreach kernel,$(KERNEL),--kernel $(kernel)) $(foreach part,$(ONLY),--only $(part)) $(ARGS)

damage:
	@tools/setup.sh test
	@tools/damage.sh $(ARGS)

fuzz-replay:
	@tools/setup.sh build
	SYSAK_REPLAY_MS=$(or $(MS),60000) tools/with-libelf.sh cargo test --release -p sysak-symbols -p sysak-target --test replay

fuzz:
	@tools/setup.sh build
	@tools/fuzz.sh $(or $(TARGET),btf) $(or $(SECONDS),600)

miri:
	@tools/miri.sh $(ARGS)

mutants:
	@tools/setup.sh build
	@tools/mutants.sh $(ARGS)

man:
	@tools/setup.sh build
	tools/with-libelf.sh cargo run --quiet -p sysak --example man -- target/man

bench:
	@tools/setup.sh bench
	@tools/build.sh
	@tools/bench.sh $(ARGS)

lint:
	@tools/setup.sh build
	@tools/lint.sh

clean:
	cargo clean
