# Prints the completions of a command line. Its arguments are the words of the line; the last one is incomplete.
# Output lines: "=WORD<tab>HELP", "+WORD<tab>HELP" (no space after it), "F ENDINGS" (files), "D" (folders).

function command(path, word, help) { family[path] = 1; member[path, word] = 1; add(path, word, help) }
function option(path, word, follows, help) { after[path, word] = follows; options[path] = options[path] word "\n"; helps[path, word] = help }
function argument(path, place, follows) { at[path, place] = follows }
function key(name, values, help) { keys[++num_keys] = name; values_of[name] = values; helps["key", name] = help }
function stage_key(kind, name, values, help) {
    if (!(kind in num_of)) kinds = kinds (kinds ? "|" : "") kind
    stage_keys[kind, ++num_of[kind]] = name; stage_values[kind, name] = values; stage_helps[kind, name] = help
}
function add(path, word, help) { members[path] = members[path] word "\n"; helps[path, word] = help }

function suggest(word, more, help) { if (index(word, typed) == 1) print (more ? "+" : "=") word "\t" help }

function say_all(path, list,    i, n, words) {
    n = split(list, words, "\n")
    for (i = 1; i < n; i++) suggest(words[i], 0, helps[path, words[i]])
}

function offer(follows,    i, n, words) {
    n = split(follows, words, " ")
    if (words[1] == "files") print "F" substr(follows, 6)
    else if (words[1] == "folders") print "D"
    else if (words[1] == "keys") offer_keys(0)
    else if (words[1] == "overrides") offer_keys(1)
    else for (i = 2; i <= n; i++) suggest(words[i], 0, "")
}

# Reads the stage kinds of a recipe, in order: each `kind:` in its section `stages`.
function read_stages(file,    line, inside, count, found) {
    sub(/^~\//, ENVIRON["HOME"] "/", file)
    while ((getline line < file) > 0) {
        sub(/(^|[ \t])#.*/, "", line)
        if (line ~ /^[^ \t-]/) inside = line ~ /^stages[ \t]*:/
        while (inside && match(line, "kind[\"]?[ \t]*:[ \t]*[\"]?(" kinds ")")) {
            found = substr(line, RSTART, RLENGTH)
            sub(/^.*[^a-z_]/, "", found)
            add_stage(count++, found)
            line = substr(line, RSTART + RLENGTH)
        }
    }
    close(file)
    return count
}

function add_stage(number, kind,    i, name) {
    for (i = 1; i <= num_of[kind]; i++) {
        name = stage_keys[kind, i]
        key("stages." number "." name, stage_values[kind, name], stage_helps[kind, name])
    }
}

function offer_keys(with_value,    i, n, name, value, words, dot) {
    # If the recipe cannot be read or has no stages yet, complete one stage of any kind.
    if (!read_stages(recipe)) for (n = split(kinds, words, "|"); n > 0; n--) add_stage(0, words[n])
    if ((dot = index(typed, "=")) && with_value) {
        name = substr(typed, 1, dot - 1)
        if (values_of[name] == "files") { print "F"; return }
        n = split(values_of[name], words, " ")
        for (i = 1; i <= n; i++) suggest(name "=" words[i], 0, "")
        return
    }
    offer_sections(typed, with_value)
}

# Completes one section of a dotted key at a time, and skips sections that have only one key.
function offer_sections(from, with_value,    i, name, rest, dot, count, last, seen, help) {
    for (i = 1; i <= num_keys; i++) {
        name = keys[i]
        if (index(name, from) != 1) continue
        rest = substr(name, length(from) + 1)
        dot = index(rest, ".")
        last = dot ? from substr(rest, 1, dot) : name
        if (last in seen) continue
        seen[last] = dot ? "" : helps["key", name]
        order[++count] = last
    }
    if (count == 1 && last ~ /\.$/ && last != from) { offer_sections(last, with_value); return }
    for (i = 1; i <= count; i++) {
        name = order[i]
        if (name ~ /\.$/) suggest(name, 1, "")
        else if (with_value) suggest(name "=", 1, seen[name])
        else suggest(name, 0, seen[name])
    }
}

BEGIN {
    # TABLE
    typed = ARGV[ARGC - 1]
    for (i = 2; i < ARGC - 1; i++) {
        word = ARGV[i]
        if (waits) { waits = 0; continue }
        if ((path, word) in member) { path = path (path ? " " : "") word; continue }
        if (word ~ /^-/) { waits = after[path, word] != ""; option_before = word; continue }
        if (++num_arguments == 1) recipe = word
        if (word ~ /\.ya?ml$/ && recipe !~ /\.ya?ml$/) recipe = word
    }
    if (waits) offer(after[path, option_before])
    else if (typed ~ /^-/) say_all(path, options[path])
    else if (path in family) say_all(path, members[path])
    else offer((path, num_arguments + 1) in at ? at[path, num_arguments + 1] : at[path, "*"])
    exit
}
