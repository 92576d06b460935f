# Completion of rlkit in fish, by: rlkit completion fish | source   or as a file in ~/.config/fish/completions
set -g __rlkit_find '@PROGRAM@'

function __rlkit_files --argument-names typed endings
    set -l before (string match -r '^.*=' -- $typed; or echo)
    set -l part (string replace -r '^.*=' '' -- $typed)
    for path in $part*
        if test -d $path
            echo $before$path/
        else if test -z "$endings"; or contains -- (string replace -r '^.*\.' '' -- $path) (string split -n ' ' -- $endings)
            echo $before$path
        end
    end
end

function __rlkit_complete
    set -l typed (commandline -ct)
    for found in (awk -- $__rlkit_find (commandline -opc) "$typed")
        set -l word (string sub -s 2 -- $found)
        switch $found
            case '=*' '+*'
                echo $word
            case 'D*'
                __fish_complete_directories "$typed"
            case 'F*'
                __rlkit_files "$typed" "$word"
        end
    end
end

complete -c rlkit -f -a '(__rlkit_complete)'
