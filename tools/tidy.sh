#!/usr/bin/env bash
# Checks the project's own rules, which cargo and clippy do not know (CONTRIBUTING.md, "Style, in
# brief"). Each complaint says where and what to do; tools/tidy_test.sh shows one of each kind.
set -euo pipefail
cd "$(dirname "$0")/.."
# Columns are characters, not bytes.
export LC_ALL=C.UTF-8

# Files that are longer because they are tables: of functions, and of a report with every field filled.
long_files='^crates/(kernel/src/functions/kernel_wrappers|report/tests/filled/mod)\.rs$'
# Sentences of a report stand on one line each, so that both languages can be compared.
long_lines='^crates/report/src/catalogue/'
# The fixed points of an address space, the list of RAM and the identity of a dump are found
# before the layout of a kernel is known; infer knows building blocks like `list_head`.
kernel_names='^crates/(kernel/src/shape/|target/src/(anchors|vmcore/identity|vmcore/ram|bpf/find|bpf/percpu)\.rs$|infer/src/names\.rs$)'
most_file_lines=500
most_function_lines=80
most_columns=120
most_program_lines=1200

mapfile -t rust < <(find crates bench vmtest -name target -prune -o -name '*.rs' -print | sort)
# What is shipped: tests, examples and build scripts are elsewhere.
mapfile -t shipped < <(printf '%s\n' "${rust[@]}" | grep -E '/src/' | grep -vE '/tests(/|\.rs$)')

# The edges between crates, as the table in ARCHITECTURE.md has them.
check_edges() {
    local manifests=(crates/*/Cargo.toml bench/Cargo.toml vmtest/Cargo.toml)
    awk '
        function full(name) { return name ~ /^(sysak|bench|vmtest)$/ ? name : "sysak-" name }
        FILENAME == "ARCHITECTURE.md" {
            if (/^## /) in_table = /^## Edges/
            if (!in_table || !/^\| `/) next
            split($0, cell, "|")
            users = cell[2]; used = cell[3]
            sub(/\(.*/, "", used)
            many = split(users, user, ",")
            count = split(used, target, ",")
            for (i = 1; i <= many; i++) {
                gsub(/[` ]/, "", user[i])
                row[full(user[i])] = FNR
                for (j = 1; j <= count; j++) {
                    gsub(/[` ]/, "", target[j])
                    if (target[j] ~ /^[a-z]/) allowed[full(user[i]) " " full(target[j])] = FNR
                }
            }
            next
        }
        FNR == 1 { section = "" }
        /^\[/ { section = $0 }
        section == "[package]" && /^name *=/ {
            split($0, part, "\"")
            name = part[2]
            seen[name] = 1
            if (!(name in row))
                print FILENAME ":" FNR ": " name " is not in the table of edges: add it to ARCHITECTURE.md"
        }
        # Tests may use more.
        section ~ /dependencies\]$/ && section !~ /dev-dependencies\]$/ && /sysak-/ {
            match($0, /sysak-[a-z-]+/)
            edge = name " " substr($0, RSTART, RLENGTH)
            used_edge[edge] = 1
            if ((name in row) && !(edge in allowed))
                print FILENAME ":" FNR ": " edge " is no edge of ARCHITECTURE.md: do without it, or add it there"
        }
        END {
            if (length(row) == 0) print "ARCHITECTURE.md:1: there is no table of edges under \"## Edges\""
            for (name in row) if (!(name in seen))
                print "ARCHITECTURE.md:" row[name] ": there is no crate " name ": take it out of the table"
            for (edge in allowed) if (!(edge in used_edge)) {
                split(edge, end, " ")
                if (end[1] in seen) print "ARCHITECTURE.md:" allowed[edge] ": nobody uses the edge " edge ": take it out"
            }
        }
    ' ARCHITECTURE.md "${manifests[@]}"
}

# Import circles between the modules at the top of one crate. The crate's first file and its
# modules may know each other.
check_circles() {
    awk '
        function module_of(path,    rest) {
            rest = path
            sub(/^.*\/src\//, "", rest)
            sub(/\.rs$/, "", rest)
            sub(/\/.*/, "", rest)
            return rest
        }
        # Modules that lie deeper than a file at the top: `super` means something else there.
        function depth(path,    rest) {
            rest = path
            sub(/^.*\/src\//, "", rest)
            sub(/\/mod\.rs$/, ".rs", rest)
            return gsub(/\//, "/", rest)
        }
        # The names at the top of what follows `crate::` in an import.
        function names_of(tail, found,    level, i, c, many) {
            many = 0
            if (tail !~ /^\{/) {
                match(tail, /^[A-Za-z_0-9]+/)
                found[1] = substr(tail, 1, RLENGTH)
                return RLENGTH > 0
            }
            level = 0
            fresh = 0
            for (i = 1; i <= length(tail); i++) {
                c = substr(tail, i, 1)
                if (c == "{") { level++; if (level == 1) fresh = 1; continue }
                if (c == "}") { level--; if (level == 0) break; continue }
                if (level == 1 && c == ",") { fresh = 1; continue }
                if (level == 1 && fresh && c ~ /[A-Za-z_]/) {
                    match(substr(tail, i), /^[A-Za-z_0-9]+/)
                    found[++many] = substr(tail, i, RLENGTH)
                    fresh = 0
                }
            }
            return many
        }
        function note(tail,    found, many, i) {
            many = names_of(tail, found)
            for (i = 1; i <= many; i++) {
                count++
                from[count] = module
                name[count] = found[i]
                in_crate[count] = crate
                where[count] = FILENAME ":" FNR
            }
        }
        function statement(text,    tail, words, i) {
            if (is_root) {
                # What the first file imports has its name in the whole crate.
                tail = text
                sub(/^.*use (crate::|self::)?/, "", tail)
                if (!match(tail, /^[a-z_0-9]+::/)) return
                words = substr(tail, RLENGTH + 1)
                home = substr(tail, 1, RLENGTH - 2)
                gsub(/[{};]/, " ", words)
                split(words, word, /[ ,]+/)
                for (i in word) {
                    sub(/.*::/, "", word[i])
                    if (word[i] != "") alias[crate " " word[i]] = home
                }
                return
            }
            if (match(text, /use crate::/)) note(substr(text, RSTART + RLENGTH))
            else if (match(text, up)) note(substr(text, RSTART + RLENGTH))
        }
        FNR == 1 {
            crate = FILENAME
            sub(/\/src\/.*/, "", crate)
            module = module_of(FILENAME)
            is_root = module ~ /^(lib|main)$/
            exists[crate " " module] = 1
            up = "use "
            for (i = 0; i <= depth(FILENAME); i++) up = up "super::"
            in_tests = 0
            pending = ""
        }
        /^#\[cfg\(test\)\]/ { in_tests = 1 }
        in_tests || /^ *\/\// { next }
        pending != "" || /^ *(pub(\([a-z]+\))? )?use / {
            pending = pending " " $0
            if (/;/) { statement(pending); pending = "" }
            next
        }
        !is_root {
            rest = $0
            while (match(rest, /crate::[A-Za-z_0-9]+/)) {
                if (RSTART == 1 || substr(rest, RSTART - 1, 1) !~ /[A-Za-z_$]/)
                    note(substr(rest, RSTART + 7, RLENGTH - 7))
                rest = substr(rest, RSTART + RLENGTH)
            }
        }
        END {
            for (i = 1; i <= count; i++) {
                to = name[i]
                if (!((in_crate[i] " " to) in exists) && ((in_crate[i] " " to) in alias)) to = alias[in_crate[i] " " to]
                if (!((in_crate[i] " " to) in exists) || to == from[i]) continue
                pair = in_crate[i] " " from[i] SUBSEP in_crate[i] " " to
                if (!(pair in edge)) edge[pair] = where[i]
            }
            # What imports nothing, or what nothing imports, is in no circle.
            do {
                changed = 0
                split("", out)
                split("", into)
                for (e in edge) { split(e, end, SUBSEP); out[end[1]] = 1; into[end[2]] = 1 }
                for (e in edge) {
                    split(e, end, SUBSEP)
                    if (!(end[2] in out) || !(end[1] in into)) { delete edge[e]; changed = 1 }
                }
            } while (changed)
            for (e in edge) {
                split(e, end, SUBSEP)
                split(end[1], one, " ")
                split(end[2], other, " ")
                print edge[e] ": the modules " one[2] " and " other[2] " of one crate import each other in a circle: " \
                    "move what both need into a third"
            }
        }
    ' "${shipped[@]}"
}

# Names of the kernel's types, fields and variables outside of the crate's shape.
check_kernel_names() {
    mapfile -t files < <(printf '%s\n' "${shipped[@]}" | grep -vE "$kernel_names")
    awk '
        FNR == 1 { in_tests = 0; before = "" }
        /^#\[cfg\(test\)\]/ { in_tests = 1 }
        in_tests || /^ *\/\// { next }
        # Where the linker put the text and the end of the image is no knowledge about structures.
        /find\("(_text|_stext|_etext|_end)"\)/ { before = $0; next }
        {
            line = $0
            # A call may go on on the next line.
            if (before ~ /(symbols|find[a-z_]*\()$/) { sub(/^ */, "", line); line = before line }
            if (line ~ /find_(field|field_type|size|array_len|enumerator|per_cpu_variable|typedef_params)\(&?(format!\()?"/ ||
                line ~ /symbols\.find\("/)
                print FILENAME ":" FNR ": only crates/kernel/src/shape/ spells names of the kernel: look it up there"
            before = $0
        }
    ' "${files[@]}"
}

check_sizes() {
    mapfile -t files < <(printf '%s\n' "${rust[@]}" | grep -vE "$long_files")
    awk -v most="$most_file_lines" -v most_function="$most_function_lines" '
        FNR == 1 { name = ""; is_test = FILENAME ~ /\/tests\// }
        FNR == most + 1 { print FILENAME ":" FNR ": the file has more than " most " lines: split it" }
        # As rustfmt lays it out, a function ends where a line has its indentation and a brace.
        # What a test builds is a table.
        name == "" && !is_test && match($0, /^ *(pub(\([a-z]+\))? )?(const |unsafe |async |extern "C" )*fn [a-z_0-9]+/) && !/[;}]$/ {
            match($0, /fn [a-z_0-9]+/)
            name = substr($0, RSTART + 3, RLENGTH - 3)
            match($0, /^ */)
            end = substr($0, 1, RLENGTH) "}"
            start = FNR
        }
        name != "" && $0 == end {
            if (FNR - start >= most_function)
                print FILENAME ":" start ": " name " has more than " most_function " lines: split it"
            name = ""
        }
    ' "${files[@]}"
    local lines
    lines=$(find crates/sysak/src -name '*.rs' -exec cat {} + | wc -l)
    if ((lines >= most_program_lines)); then
        echo "crates/sysak/src:1: $lines lines, and fewer than $most_program_lines are allowed: move work into a library"
    fi
}

check_columns() {
    mapfile -t files < <(printf '%s\n' "${rust[@]}" | grep -vE "$long_lines")
    grep -nE "^.{$((most_columns + 1)),}" /dev/null "${files[@]}" |
        sed -E "s/^([^:]+:[0-9]+):.*/\1: the line has more than $most_columns columns: break it/"
}

# Who may touch the process, and where unsafe code may stand.
check_process() {
    mapfile -t files < <(printf '%s\n' "${shipped[@]}" | grep -E '^crates/' | grep -vE '^crates/sysak/')
    grep -nE 'process::exit|\be?print(ln)?!|\bdbg!|io::stdout|env::(var|args)' /dev/null "${files[@]}" |
        grep -vE ':[0-9]+: *//' |
        sed -E 's/^([^:]+:[0-9]+):.*/\1: only crates\/sysak prints, exits, or reads arguments and the environment: return it/'
    grep -nE 'allow\(unsafe_code\)' /dev/null "${files[@]}" | grep -vE '^crates/(bpf|target)/' |
        sed -E 's/^([^:]+:[0-9]+):.*/\1: unsafe code stands in crates\/bpf and crates\/target only: move it there/'
}

# Where grep finds nothing, all is well.
complaints=$(
    set +e +o pipefail
    check_edges
    check_circles
    check_kernel_names
    check_sizes
    check_columns
    check_process
)
if [[ -n $complaints ]]; then
    printf '%s\n' "$complaints" | sort -t: -k1,1 -k2,2n >&2
    exit 1
fi
