# fish completion of banger
function __banger_complete
    set -l words (commandline -opc)
    set -l found (_BANGER_COMPLETE=fish $words[1] $words[2..-1] (commandline -ct | string collect -a) 2>/dev/null)
    if test (count $found) -gt 0
        string join \n -- $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command banger --no-files --keep-order --arguments '(__banger_complete)'
