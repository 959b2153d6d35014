# bash completion for sessionctl
# Install: sessionctl completion bash > ~/.local/share/bash-completion/completions/sessionctl
# or for this shell alone: source <(sessionctl completion bash)

_sessionctl() {
    local line=${COMP_LINE:0:COMP_POINT} word before="" candidate
    word=${line##*[[:space:]]}
    # Of --option=value only the value is completed.
    if [[ $word == --*=* ]]; then
        before=${word%%=*}=
        word=${word#*=}
    fi
    # What stands before the last character that breaks words here is not replaced by bash.
    local kept=$before$word
    kept=${kept%"${kept##*["$COMP_WORDBREAKS"]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        [[ -n $candidate ]] || continue
        candidate=$before$candidate
        COMPREPLY+=("${candidate#"$kept"}")
    done < <(COLUMNS=9999 _SESSIONCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS="$line" "${1/#\~/$HOME}" 2>/dev/null)
}

complete -o default -F _sessionctl sessionctl
