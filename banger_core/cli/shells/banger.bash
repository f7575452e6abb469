# bash completion of banger
_banger() {
    local words=() glued=0 last=-1 index word
    # bash takes words like debian:bookworm and --name=web apart, and replaces their last part
    for ((index = 1; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if ((last >= 0)) && [[ $word == [:=]* || $glued == 1 ]]; then
            words[last]+=$word
        else
            words[++last]=$word
        fi
        [[ $word == *[:=] ]] && glued=1 || glued=0
    done
    mapfile -t COMPREPLY < <(_BANGER_COMPLETE=bash "$1" "${words[@]}" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    word=${words[last]}
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[:=]}"}"}")
    # What is in a name is no part of the command: zsh and fish see to that themselves
    for index in "${!COMPREPLY[@]}"; do printf -v "COMPREPLY[index]" %q "${COMPREPLY[index]}"; done
    # Something follows these without a space
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:=/] ]] && compopt -o nospace
    return 0
}
complete -o default -F _banger banger
