#!/bin/sh
# Takes out of a virtual environment what the exporter never imports, and compiles the rest:
#   trim.sh /opt/neuron-exporter
set -eu
venv=$1
python=$venv/bin/python3
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# What installs and builds. supervisor 4.3 and later need no setuptools.
rm -rf "$packages"/pip "$packages"/pip-* "$packages"/setuptools "$packages"/setuptools-* \
    "$packages"/_distutils_hack "$packages"/distutils-precedence.pth "$packages"/pkg_resources
rm -f "$venv"/bin/pip* "$venv"/bin/activate* "$venv"/bin/Activate*

# Tests of libraries, types and sources that only tools for developers read.
find "$packages" -depth -type d -name tests -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete

# botocore knows every service of AWS (27 MB). These are called: cloudwatch for PutMetricData, sts for
# credentials by web identity (IRSA) or by a role that the shared files name, ecs to look at tasks.
# Credentials of a container's or an instance's role need no service's data, nor do keys in files.
# Single sign-on (sso, sso-oidc, signin) is for people, and taken out.
data=$packages/botocore/data
for folder in "$data"/*/; do
    case $(basename "$folder") in
        cloudwatch | sts | ecs) ;;
        *) rm -rf "$folder" ;;
    esac
done
find "$data" -type f -name 'examples-*' -delete
rm -rf "$packages"/boto3/examples "$packages"/botocore/docs/bcdoc/examples

# By content, not by time: layers keep times by the second, and some engines none.
"$python" -m compileall -q --invalidation-mode unchecked-hash "$packages"
