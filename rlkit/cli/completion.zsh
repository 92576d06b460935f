#compdef rlkit
# Completion of rlkit in zsh, by: source <(rlkit completion zsh)   or as a file _rlkit in a folder of $fpath
_rlkit_find='@PROGRAM@'

_rlkit() {
    local found word
    local -a whole begun
    for found in "${(@f)$(awk -- "$_rlkit_find" "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}")}"; do
        word=${found[2,-1]}
        case $found in
            '='*) whole+=("${${word%%$'\t'*}//:/\\:}:${word#*$'\t'}") ;;
            '+'*) begun+=("${${word%%$'\t'*}//:/\\:}:${word#*$'\t'}") ;;
            D*) _files -/ ;;
            F*)
                compset -P '*='
                if [[ -z $word ]]; then _files; else _files -g "*.(${(j:|:)${(s: :)word}})"; fi
                ;;
        esac
    done
    (( $#whole )) && _describe rlkit whole
    (( $#begun )) && _describe rlkit begun -S ''
}

if [[ $funcstack[1] == _rlkit ]]; then _rlkit "$@"; else compdef _rlkit rlkit; fi
