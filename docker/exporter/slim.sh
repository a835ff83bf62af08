#!/bin/sh
# Remove from a virtual environment what the exporter never imports, and compile the rest:
#   slim.sh /opt/neuron-exporter
set -eu
venv=$1
python=$venv/bin/python3
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# Installers and build tools. supervisor 4.3 and later does not need setuptools.
rm -rf "$packages"/pip "$packages"/pip-* "$packages"/setuptools "$packages"/setuptools-* \
    "$packages"/_distutils_hack "$packages"/distutils-precedence.pth "$packages"/pkg_resources
rm -f "$venv"/bin/pip* "$venv"/bin/activate* "$venv"/bin/Activate*

# Tests, type stubs and sources, which only development tools read.
find "$packages" -depth -type d -name tests -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete

# botocore has data for every AWS service (27 MB). The exporter calls cloudwatch (PutMetricData),
# sts (credentials from web identity, as for IRSA, or from a role in the shared files) and ecs
# (tasks). Container roles, instance roles and keys in files need no service data. Single sign-on
# (sso, sso-oidc, signin) is for interactive use and is removed.
data=$packages/botocore/data
for folder in "$data"/*/; do
    case $(basename "$folder") in
        cloudwatch | sts | ecs) ;;
        *) rm -rf "$folder" ;;
    esac
done
find "$data" -type f -name 'examples-*' -delete
rm -rf "$packages"/boto3/examples "$packages"/botocore/docs/bcdoc/examples

# Do not check source timestamps: image layers store whole seconds, some engines none.
"$python" -m compileall -q --invalidation-mode unchecked-hash "$packages"
