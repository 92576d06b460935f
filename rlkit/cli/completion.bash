# Completion of rlkit in bash, by: source <(rlkit completion bash)
_rlkit_find='@PROGRAM@'

_rlkit() {
    local line=${COMP_LINE-${COMP_WORDS[*]:0:COMP_CWORD+1}} typed found word ending key before=
    local -a words
    line=${line:0:${COMP_POINT-${#line}}}
    read -ra words <<<"$line"
    if [[ $line == *[[:space:]] ]]; then words+=(""); fi
    typed=${words[${#words[@]} - 1]}
    key=${typed%"${typed##*=}"}
    # Bash replaces only what follows the last of its word breaks.
    if [[ $COMP_WORDBREAKS == *=* ]]; then before=$key; fi
    COMPREPLY=()
    while IFS= read -r found; do
        word=${found:1}
        word=${word%%$'\t'*}
        case $found in
            =*) COMPREPLY+=("${word#"$before"}") ;;
            +*) COMPREPLY+=("${word#"$before"}"); compopt -o nospace 2>/dev/null ;;
            D*) mapfile -t COMPREPLY < <(compgen -d -- "$typed"); compopt -o filenames 2>/dev/null ;;
            F*)
                typed=${typed#"$key"}
                mapfile -t COMPREPLY < <(
                    if [[ -z $word ]]; then compgen -f -- "$typed"; else compgen -d -- "$typed"; fi
                    for ending in $word; do compgen -f -X "!*.$ending" -- "$typed"; done
                )
                COMPREPLY=("${COMPREPLY[@]/#/"${key#"$before"}"}")
                compopt -o filenames 2>/dev/null
                ;;
        esac
    done < <(awk -- "$_rlkit_find" "${words[@]}")
}

complete -F _rlkit rlkit
