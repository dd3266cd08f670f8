"""Real tools on the mount and on tmpfs, step by step: each must say and leave
the same on both.

A scene is a list of shell lines in an empty directory. After each line its
exit status, its output and the whole tree below (names, types, modes, sizes,
contents, link targets; modification times that a tool was told to set) are
compared. What the mount refuses by design, class `Others` has.
"""

import hashlib
import os
import re
import stat
import subprocess
import unittest

import harness

STEP_SECONDS = 120
OLD = 1500000000  # times before that a tool set on purpose

# Name, tools that it needs, lines.
SCENES = [
    ("copies", "cp install", r"""
cp -r /usr/include/linux tree
diff -r /usr/include/linux tree
mkdir src && for i in $(seq 30); do echo "file $i" > src/f$i; done
touch -d 2001-02-03T04:05:06Z src/f1 src/f2 && chmod 600 src/f2 && chmod 755 src/f3
cp -p src/f1 src/f2 .
ln -s f1 src/link && ln -s /nowhere src/dangling
cp -a src copy && diff -r --no-dereference src copy
cp -r src plain
cp f1 f2
cp -n src/f9 f1; cat f1
cp nothing there
cp src there
cp -T src/f3 f1 && cat f1
cp --preserve=mode src/f3 exact && stat -c %a exact
cp src/f1 src/f2 src/f3 plain/ && cat plain/f3
cp --remove-destination src/f4 plain/f1
cp -u src/f5 plain/f1; cat plain/f1
cp --parents src/f7 plain
cp --sparse=always src/f8 f8
cp --reflink=auto src/f8 f9
cp -b src/f6 f8 && ls
cp -s src/f1 soft || echo refused
install -m 640 src/f4 installed && stat -c %a installed
install -d -m 750 a/b/c && stat -c %a a/b/c
install -D src/f4 deep/er/file
cat src/f* | head -c 100000 > all && wc -c < all
"""),
    ("moves and removals", "mv rm", r"""
mkdir -p d/e/f && echo 1 > d/one && echo 2 > d/e/two && echo 3 > d/e/f/three
echo a > a && echo b > b
mv a c && cat c
mv c b && cat b
mv -n d/one b; cat b; ls d
mv d moved && find moved | sort
mv moved/e here && find . | sort
mkdir full && echo x > full/x && mkdir empty
mv -T empty full
mv -T full empty && find . | sort
mkdir full && mv empty full && find . | sort
mv b full/ && mv full/b . && cat b
mv b nowhere/b
mv full full/inside
mv nothing b
mv -T b full
mv -T full b
mv -b here/two b && ls
rm here
rm -r here && ls
rm nothing
rm -f nothing
rmdir full
rmdir moved; ls
mkdir -p p/q/r && rmdir -p p/q/r; ls
rm -rv full | sort
mkdir x y && touch x/1 y/2 && rm -r x y && ls
mkdir many && for i in $(seq 500); do : > many/$i; done; ls many | wc -l
rm many/*5* && ls many | wc -l
rm -r many && ls
mkdir -p deep/$(printf 'd/%.0s' $(seq 60)) && find deep | wc -l && rm -r deep
"""),
    ("names", "find sort", r"""
touch 'a b' $'new\nline' $'tab\there' "quote'" 'dou"ble' '*' '?' '[x]' -- -dash '$HOME' ';' '&' '|'
touch 'ümläut' '日本' $'\xff\xfe' '%00' '%2500' '%2E' '%3D' foo%20bar '%25' '%252F' '%%' '%2'
find . -type f -print0 | sort -z | od -c
ls -b
mkdir '%2E%2E' && touch '%2E%2E/x' && ls '%2E%2E'
name=$(printf 'n%.0s' $(seq 255)); echo long > $name && cat $name && rm $name
touch ...; touch .hidden; ls -A | sort | sed -n 1,5p
mkdir .dir && touch .dir/.x && find .dir
mv 'a b' 'c  d' && mv $'new\nline' plain && ls -b
rm -- -dash '*' '?' && ls -b
for n in '%00' '%2E' '日本'; do echo "$n" > "$n.txt"; cat "$n.txt"; done
tar cf - . | tar tf - | sort
"""),
    ("shell", "bash", r"""
echo one > f && cat f
echo two >> f && cat f
: > f && wc -c < f
printf 'no newline' > f && cat f
cat > f <<< here && cat f
set -C; echo no > f; set +C; cat f
exec 3<>f; read -u 3 line; echo more >&3; exec 3>&-; cat f
exec 3>f; echo 1 >&3; echo 2 >&3; cat f; exec 3>&-; cat f
exec 3>f; rm f; echo gone >&3; ls; cat /proc/self/fd/3; exec 3>&-; ls
echo x > f; exec 3<f; rm f; echo new > f; cat <&3; cat f
(echo a; echo b) > f; (cat f; echo c) > g; cat g
cat f f f > g; cat g
{ echo 1; sleep 0.1; echo 2; } > f & { echo 3; } > g; wait; cat f g
mkdir d && cd d && echo here > x && cd .. && cat d/x
cd d && rmdir ../d; rm x; rmdir ../d; ls; pwd -P >/dev/null; cd ..
echo '#!/bin/sh' > run && echo 'echo ran $1' >> run && chmod +x run && ./run now
chmod -x run; ./run now 2>/dev/null; echo $?
umask 077; echo s > secret; mkdir private; stat -c %a secret private
[ -f f ] && [ -s f ] && [ -r f ] && [ -w f ] && [ ! -x f ] && [ -d private ] && [ ! -e none ] && echo all
[ f -ef ./f ] && echo same; [ f -ef g ] || echo other
sleep 0.02; touch later; [ later -nt f ] && echo newer; [ f -ot later ] && echo older
for i in $(seq 100); do echo $i >> counted; done; wc -l < counted; tail -1 counted
seq 100000 > big; wc -l < big; md5sum < big
cat big > big2 && cmp big big2 && echo equal
cat < big | tee t1 t2 > t3; cmp t1 t3 && cmp t2 big && echo equal
ls *.nothing
echo */ ; echo *
mkfifo --help > /dev/null; test -p run; echo $?
"""),
    ("text tools", "grep sed awk sort perl patch xxd ed column strings", r"""
seq 2000 | sed 's/$/ the quick brown fox/' > words; for i in 1 2 3; do mkdir -p d/$i; head -n $((i * 10)) words > d/$i/w; done
grep -r 'quick' d | sort | md5sum; grep -rl '^15 ' d | sort; grep -rc fox d | sort
grep -rn --include=w '^7 ' . | sort
sort -rn -o words words && head -2 words
sort -n -o words words && head -2 words
sed -i 's/quick/slow/' words && head -1 words && stat -c %a words
sed -i.bak '1,10d' words && wc -l words words.bak
sed -i -s '1s/^/first /' d/1/w d/2/w && head -1 d/1/w d/2/w
sed -n '5w fifth' words; cat fifth
echo tail | tee -a words d/1/w > /dev/null; tail -1 words d/1/w
awk '{ print $1 > ("out" $1 % 3) }' words; wc -l out0 out1 out2
awk 'BEGIN { while ((getline l < "out0") > 0) n++; print n; printf "x" >> "out0" }'; tail -c 5 out0
perl -pi -e 's/slow/fast/' words && head -1 words
perl -i.orig -ne 'print if $. % 2' words && wc -l words words.orig
head -c 100 words | md5sum; tail -c 100 words | md5sum; head -n 5 words; tail -n +995 words | sed -n 1,3p
split -l 300 words part. && wc -l part.* && cat part.* | cmp - words && echo same
split -b 1000 words b. && ls b.* | wc -l && cat b.* | cmp - words && echo same
csplit -s words '/20/' '{2}' && wc -l xx*
cut -d' ' -f1 words | paste - - - > pasted; head -2 pasted
comm -12 out0 out1 | wc -l; join out0 out0 | wc -l; uniq -c pasted | sed -n 1,1p
tac words | sed -n 1,1p; shuf -i 1-10 | sort -n | tr '\n' ' '; nl words | sed -n 1,1p; fold -w 5 fifth; expand fifth; rev fifth
cmp out0 out1 | sed -n 1,1p; diff out0 out1 > difference; wc -l < difference
cp out0 old && diff -u --label old --label new old words > p; patch -s old p && cmp old words && echo patched
tr a-z A-Z < words > upper; od -c upper | sed -n 1,2p; xxd words | xxd -r | cmp - words && echo same
md5sum out* > sums && md5sum -c sums; sha256sum words; cksum words; b2sum words
base64 words | base64 -d | cmp - words && echo same
xargs -a out2 -n 100 echo | wc -l; find d -name w -exec wc -l {} + | sort
ed -s words <<< $'1d\nw\nq' 2>/dev/null; wc -l words
column -t pasted 2>/dev/null | wc -l; strings words | wc -l
"""),
    ("sizes and times", "dd truncate touch stat fallocate", r"""
dd if=/dev/zero of=z bs=1000 count=50 status=none && stat -c %s z
printf HELLO | dd of=z bs=1 seek=100 conv=notrunc status=none && dd if=z bs=1 skip=99 count=7 status=none | od -c
printf END | dd of=z bs=1 seek=60000 conv=notrunc status=none && stat -c %s z && tail -c 5 z | od -c
printf x | dd of=z bs=1 seek=10 status=none && stat -c %s z
dd if=/dev/urandom of=r bs=64k count=20 status=none; dd if=r of=r2 bs=7777 status=none; cmp r r2 && echo same
dd if=r of=r3 bs=4096 conv=fsync status=none && cmp r r3; dd if=r of=r4 oflag=append conv=notrunc status=none; dd if=r of=r4 oflag=append conv=notrunc status=none; stat -c %s r4
dd if=r bs=100 skip=3 count=2 iflag=fullblock status=none | md5sum > /dev/null && echo read
rm r r2 r3 r4
truncate -s 100 t && stat -c %s t; truncate -s +50 t; truncate -s -20 t; truncate -s 10 t; stat -c %s t; od -c t
truncate -s 1M t && stat -c %s t && head -c 1048576 /dev/zero | cmp - t && echo zeros
truncate -s 0 t; truncate -r z t; stat -c %s t; truncate -c -s 5 none; ls none
fallocate -l 5000 f && stat -c %s f
fallocate -n -l 9000 f; stat -c %s f
fallocate -o 4000 -l 3000 f && stat -c %s f
echo data > f && fallocate -p -o 1 -l 2 f; od -c f
touch -d 1999-12-31T23:59:59Z old && stat -c '%Y %y' old
touch -d '2010-01-01 00:00:00.123456789 UTC' fine && stat -c %.3Y fine
touch -r old new && stat -c %Y new; touch -a -d 1990-01-01Z old && stat -c %Y old
touch -c none; ls none; touch -m -d 1995-05-05Z old && stat -c %Y old
chmod 4755 old; stat -c %a old; chmod u=rw,go= old; stat -c %a old; chmod a+x old; stat -c %A old
chmod 0 old; stat -c '%a %F %h' old; chmod 644 old
mkdir d && touch -d 2000-01-01Z d && chmod 700 d && stat -c '%a %F' d && stat -c %Y d
find . -newer old -name 'f*' | sort; find . -size +20k | sort; find . -perm 755 | sort; find . -type f -empty | sort
find . -mtime +1000 | sort; find . -name 'z' -printf '%s %f\n'; find . -type d; find . -samefile z
du -b z f; du -ab --exclude=d . | sort -k2 | grep -v '\.$'; du --apparent-size -k z
ls -l --time-style=+%Y old fine | cut -d' ' -f1,6-; ls -S; ls -1 --sort=time old new
stat -c '%F %s' . | cut -d' ' -f1; file -b z 2>/dev/null; test z -nt old && echo newer
"""),
    ("links", "ln readlink", r"""
echo target > t && ln -s t l && cat l && readlink l && [ -L l ] && echo link
echo through > l && cat t; echo more >> l; cat t; stat -c '%F %s %a' l
ln -s t l; ln -sf other l && readlink l; cat l; ln -sfn t l && cat l
mkdir d && ln -s ../t d/up && cat d/up && ln -s d dl && cat dl/up && ls dl/ && readlink -f dl/up | sed 's/.*\///'
mv l l2 && readlink l2; cp l2 copied && stat -c %F copied; cp -P l2 kept && stat -c %F kept
rm l2 && cat t; ln -s loop loop; cat loop; ln -s nowhere broken; cat broken; ls -l broken | cut -c1-10
find . -type l | sort; find -L . -type f | sort; find . -lname 't*' | sort
rm -r dl; ls d; unlink kept; ls
ln -s "$(printf 'x%.0s' $(seq 1000))" far && readlink far | wc -c
ln -s $'odd \n name' odd && readlink odd; tar cf - odd broken | tar tvf - | cut -c1
chmod 600 t; touch -h -d 2001-01-01Z broken && stat -c %Y broken; chmod 755 loop
"""),
    ("rsync", "rsync", r"""
mkdir src && for i in $(seq 40); do mkdir -p src/d$((i % 5)); head -c $((i * 997)) /dev/zero | tr '\0' a > src/d$((i % 5))/f$i; done; ln -s f5 src/d0/l; chmod 640 src/d1/f1; touch -d 2005-05-05Z src/d2/f2
rsync -a src/ copy/ && diff -r --no-dereference src copy && echo same
rsync -ai src/ copy/
rsync -ac --itemize-changes src/ copy/
stat -c %a copy/d1/f1 && stat -c '%a %Y' copy/d2/f2
echo changed >> src/d3/f3; rm src/d4/f4; echo new > src/new; rsync -a --delete src/ copy/ && diff -r --no-dereference src copy && echo same
rsync -ai --delete src/ copy/
echo again >> src/d3/f3; rsync -a --inplace src/ copy/ && cmp src/d3/f3 copy/d3/f3 && echo same
echo more >> src/d3/f8; rsync -a --append src/ copy/ && cmp src/d3/f8 copy/d3/f8 && echo same
rsync -a --partial --whole-file --checksum src/ third/ && diff -r --no-dereference src third && echo same
rsync -a --link-dest=../copy src/d1/ linked/ 2>/dev/null; diff -r src/d1 linked && echo same
rsync -a --remove-source-files third/d1/ taken/ && find third/d1 taken | sort
rsync -a --backup --suffix=.old --size-only src/ copy/; find copy -name '*.old'
find . -name '.*.??????'
"""),
    ("archives", "tar zip unzip gzip bzip2 xz cpio", r"""
mkdir -p src/sub && for i in 1 2 3 4 5 6 7 8; do seq $((i * 100)) > src/sub/f$i; done; chmod 755 src/sub/f2; touch -d 2003-03-03T03:03:03Z src/sub/*; ln -s f1 src/sub/l; touch -d 2003-03-03Z src src/sub; touch -h -d 2003-03-03Z src/sub/l
tar c src | (mkdir out && tar x -C out) && diff -r --no-dereference src out/src && echo same
stat -c '%a %Y' out/src/sub/f3
tar czf a.tgz src && tar tzf a.tgz | sort && mkdir z && tar xzf a.tgz -C z && diff -r --no-dereference src z/src && echo same
tar cf a.tar src && tar rf a.tar a.tgz && tar tf a.tar | wc -l && tar --delete -f a.tar a.tgz && tar tf a.tar | wc -l
tar df a.tar && echo equal; echo x >> src/sub/f1; touch -d 2004-04-04Z src/sub/f1; tar df a.tar; tar uf a.tar src && tar tf a.tar | wc -l
tar xf a.tar -O src/sub/f2 | md5sum; tar xf a.tar --overwrite -C out; tar xkf a.tar -C out 2>/dev/null; echo $?; tar xf a.tar -C out --unlink-first
tar --listed-incremental=snar -cf inc1.tar src && ls snar && rm snar inc1.tar
zip -qr a.zip src && unzip -tq a.zip && unzip -qd u a.zip && diff -r src u/src && echo same
zip -q a.zip a.tgz && zip -qd a.zip a.tgz && unzip -Z1 a.zip | sort; unzip -qo a.zip -d u; stat -c %Y u/src/sub/f3
cp src/sub/f8 g && touch -d 2002-02-02Z g && gzip g && ls g* && stat -c %Y g.gz && gunzip g.gz && cmp g src/sub/f8 && stat -c %Y g
gzip -k g && zcat g.gz | cmp - g && gzip -f g && ls g*; gunzip -c g.gz > g2; gzip -t g.gz && echo sound
bzip2 -k g2 && bunzip2 -c g2.bz2 | cmp - g2 && xz -k g2 && xzcat g2.xz | cmp - g2 && echo same
find src | cpio -o --quiet > a.cpio && mkdir c && (cd c && cpio -id --quiet < ../a.cpio) && diff -r --no-dereference src c/src && echo same
rm a.zip a.tgz a.cpio *.gz *.xz *.bz2 a.tar
"""),
    ("make", "make gcc", r"""
printf 'all: prog\nprog: a.o b.o\n\tgcc -o prog a.o b.o\n%%.o: %%.c\n\tgcc -c $<\nclean:\n\trm -f *.o prog\n' > Makefile
echo 'int b(void); int main(void) { return b(); }' > a.c; echo 'int b(void) { return 7; }' > b.c
make && ./prog; echo $?
make
touch b.c && make
make; sleep 0.01; echo 'int b(void) { return 8; }' > b.c; make -s && ./prog; echo $?
touch -d '1 hour ago' a.c b.c; make; make -q; echo $?; make -n clean
make clean && make -s -j4 && ls && ./prog; echo $?
gcc -shared -fPIC -o libb.so b.c && gcc -o dyn a.c ./libb.so && ./dyn; echo $?
ar rc libb.a b.o && ranlib libb.a && ar t libb.a && gcc -o static a.c libb.a && ./static; echo $?
strip prog && ./prog; echo $?; rm *.o prog dyn static libb.so libb.a
"""),
    ("git", "git", r"""
git init -q repo && cd repo && for i in $(seq 30); do mkdir -p d$((i % 4)); echo "line $i" > d$((i % 4))/f$i; done
cd repo && git add . && git commit -qm first && git log --format=%s && git status --porcelain
cd repo && echo more >> d1/f1 && git status --porcelain && git diff --stat && git commit -qam second && git rev-parse HEAD
cd repo && git checkout -qb side && git mv d2/f2 d2/moved && chmod +x d3/f3 && git commit -qam third && git show --stat --format=%s
cd repo && git checkout -q master && git merge -q --no-edit side && git log --oneline | wc -l && git ls-files | wc -l
cd repo && git checkout -q HEAD~1 2>&1 && ls d2 | sort && git checkout -q master && git status --porcelain
cd repo && rm d1/f5 && git status --porcelain && git checkout d1/f5 2>/dev/null && echo y >> d1/f9 && git stash -q && git stash pop -q && git diff --stat && git checkout -q .
git clone -q --no-hardlinks repo clone && diff -r -x .git repo clone && cd clone && git log --format=%s
cd clone && echo z > z && git add z && git commit -qm fourth && cd ../repo && git pull -q ../clone master && cat z && git log --oneline | wc -l
cd repo && git gc -q && git fsck --strict && git count-objects -v | grep -E 'count|in-pack|packs' && git status --porcelain
cd repo && git repack -adq && git prune && git reflog | wc -l && git tag v1 && git describe && git branch -D side | cut -d' ' -f1-3
cd repo && git worktree add -q ../tree v1 && ls ../tree | sort && git worktree remove ../tree && ls ..
cd repo && git rebase -q HEAD~2 && git reset -q --hard HEAD~1 && ls | sort && git clean -fdx && git archive HEAD | tar t | wc -l
cd repo && echo conflict > d1/f1 && git commit -qam ours && git checkout -qb t HEAD~1 && echo theirs > d1/f1 && git commit -qam theirs && git merge master > /dev/null; git status --porcelain; cat d1/f1; git merge --abort; git status --porcelain
"""),
    ("editors", "vim ed", r"""
printf 'one\ntwo\nthree\n' > f && chmod 640 f
vim -u NONE -es -c '%s/two/2/' -c 'x' f; cat f; stat -c %a f; ls -A
vim -u NONE -es -c 'set backup' -c '$s/$/ end/' -c 'x' f; cat f f~; ls -A
vim -u NONE -es -c 'set backupcopy=yes' -c '1d' -c 'wq' f; cat f; ls -A
vim -u NONE -es -c 'set nowritebackup' -c 'normal Gonew' -c 'wq' f; cat f; ls -A
vim -u NONE -es -c 'normal ifresh' -c 'wq' new; cat new; ls -A
vim -u NONE -es -c 'set undofile' -c '1s/f/F/' -c 'wq' new; cat new; ls -A | wc -l
ln -s f l; vim -u NONE -es -c 'normal Golinked' -c 'x' l; cat f; readlink l
vim -u NONE -es -c 'w other' -c 'q' f; cmp f other && echo same; printf 'a\nappended\n.\nw\nq\n' | ed -s f; cat f
"""),
    ("sqlite", "sqlite3", r"""
sqlite3 db 'create table t(a integer primary key, b text); insert into t(b) values (1), (2), (3); select * from t;'; ls
for i in $(seq 20); do sqlite3 db "insert into t(b) values ($i);"; done; sqlite3 db 'select count(*), sum(b) from t;'; ls
(echo 'begin;'; for i in $(seq 2000); do echo "insert into t(b) values ('row $i');"; done; echo 'commit;') | sqlite3 db; sqlite3 db 'select count(*) from t; pragma integrity_check;'
sqlite3 db 'pragma journal_mode=truncate; update t set b = b || 1; pragma integrity_check;'; ls
sqlite3 db 'pragma journal_mode=persist; delete from t where a % 2; pragma integrity_check; select count(*) from t;'; ls
sqlite3 db 'pragma journal_mode=delete; begin; delete from t; rollback; select count(*) from t;'
sqlite3 db 'pragma journal_mode=wal; insert into t(b) values (9); select count(*) from t; pragma integrity_check; pragma journal_mode=delete;'; ls
for i in 1 2 3 4; do sqlite3 -cmd '.timeout 20000' db "begin immediate; insert into t(b) values ('p$i'); commit;" & done; wait; sqlite3 db "select count(*) from t where b like 'p%';"
sqlite3 db 'vacuum; pragma integrity_check;'; sqlite3 db .dump | sqlite3 db2; sqlite3 db2 'select count(*) from t;'; sqlite3 db '.backup copy' && sqlite3 copy 'pragma integrity_check;'
sqlite3 db 'pragma mmap_size=1000000; select count(*) from t; insert into t(b) values (1); select count(*) from t;'; rm db db2 copy; ls
"""),
    ("python", "python3", r"""
python3 -c 'f = open("f", "w"); f.write("hello\n"); f.close(); print(open("f").read())'
python3 -c 'f = open("f", "r+"); f.seek(2); f.write("LL"); f.close(); print(open("f").read())'
python3 -c 'f = open("f", "a"); print(f.tell()); f.write("more\n"); print(f.tell()); f.close(); print(open("f").read())'
python3 -c 'open("f", "x")' 2>&1 | tail -1
python3 -c 'f = open("b", "wb+"); f.write(bytes(range(256)) * 300); f.seek(1000); print(f.read(4)); f.truncate(500); f.seek(0, 2); print(f.tell())'
python3 -c 'import os; f = open("b", "r+b"); f.seek(100000); f.write(b"end"); f.flush(); os.fsync(f.fileno()); print(os.stat("b").st_size, os.path.getsize("b"))'
python3 -c 'import mmap; f = open("b", "r+b"); m = mmap.mmap(f.fileno(), 0); print(len(m), m[99999:]); m[0:5] = b"mmaps"; m.flush(); m.close(); f.close(); print(open("b", "rb").read(8))'
python3 -c 'import os; open("new", "w").write("n"); os.replace("new", "f"); print(open("f").read(), os.listdir("."))' | sed "s/\[.*//"
python3 -c 'import shutil; shutil.copytree("/usr/include/linux/can", "tree"); shutil.move("tree", "t2"); shutil.copy2("f", "f2"); shutil.rmtree("t2")'; ls
python3 -c 'import tempfile, os; f = tempfile.NamedTemporaryFile(dir="."); f.write(b"x"); f.flush(); print(os.stat(f.name).st_size); f.close(); t = tempfile.TemporaryFile(dir="."); t.write(b"y"); t.seek(0); print(t.read())'; ls
python3 -c 'import os; fd = os.open("p", os.O_RDWR | os.O_CREAT, 0o600); os.pwrite(fd, b"abcdef", 10); print(os.pread(fd, 20, 5)); os.ftruncate(fd, 12); os.lseek(fd, 0, 0); print(os.read(fd, 100)); os.close(fd)'
python3 -c 'import os; fd = os.open("p", os.O_WRONLY | os.O_APPEND); os.pwrite(fd, b"Z", 0); os.close(fd); print(open("p", "rb").read())'
python3 -c 'import os; d = os.open(".", os.O_RDONLY); fd = os.open("rel", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=d); os.write(fd, b"1"); os.fsync(d); print(oct(os.stat("rel", dir_fd=d).st_mode)); os.unlink("rel", dir_fd=d)'
python3 -c 'import fcntl; f = open("lock", "w"); fcntl.flock(f, fcntl.LOCK_EX); g = open("lock"); exec("try: fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)\nexcept BlockingIOError as e: print(e)"); fcntl.lockf(f, fcntl.LOCK_EX); print("locked")'
python3 -c 'import json; json.dump({"a": list(range(1000))}, open("j", "w")); print(sum(json.load(open("j"))["a"]))'; python3 -c 'import pickle, dbm.dumb as d; db = d.open("dumb"); db["k"] = "v"; db.close(); print(d.open("dumb")["k"])'; ls dumb*
python3 -c 'import os; [open("n%d" % i, "w").write(str(i)) for i in range(300)]; print(sum(int(open(e.path).read()) for e in os.scandir(".") if e.name.startswith("n"))); [os.unlink("n%d" % i) for i in range(300)]'
python3 -c 'import os; os.mkdir("d"); os.utime("d", (1e9, 1e9)); os.utime("f", ns=(10**18, 1234567890123456000)); print(os.stat("f").st_mtime_ns // 10**6, int(os.stat("d").st_mtime)); os.chmod("f", 0o604); print(oct(os.stat("f").st_mode)); os.rmdir("d")'
python3 -c 'import os; os.sendfile' && python3 -c 'import os; a = open("b", "rb"); o = open("sent", "wb"); print(os.sendfile(o.fileno(), a.fileno(), 0, 50000)); o.close(); o = open("ranged", "wb"); print(os.copy_file_range(a.fileno(), o.fileno(), 5000)); o.close()'; cmp -n 50000 b sent; cmp -n 5000 b ranged && echo same
"""),
    ("node", "node", r"""
node -e 'const fs = require("fs"); fs.writeFileSync("f", "x"); fs.appendFileSync("f", "y"); console.log(fs.readFileSync("f", "utf8"), fs.statSync("f").size)'
node -e 'const fs = require("fs"); fs.mkdirSync("a/b/c", {recursive: true}); fs.writeFileSync("a/b/c/f", "1"); fs.cpSync("a", "z", {recursive: true}); fs.renameSync("a", "m"); console.log(fs.readdirSync("m", {recursive: true})); fs.rmSync("m", {recursive: true})'
node -e 'const fs = require("fs"); const s = fs.createWriteStream("s"); for (let i = 0; i < 10000; i++) s.write("line " + i + "\n"); s.end(() => { let n = 0; fs.createReadStream("s").on("data", d => n += d.length).on("end", () => console.log(n)) })'
node -e 'const fs = require("fs"); const d = fs.mkdtempSync("./tmp-"); fs.writeFileSync(d + "/f", Buffer.alloc(100000, 7)); fs.truncateSync(d + "/f", 5); console.log(fs.readFileSync(d + "/f")); fs.rmSync(d, {recursive: true})'
"""),
    ("many at once", "bash xargs flock", r"""
for w in $(seq 20); do (for i in $(seq 50); do echo "writer $w line $i" >> log; done) & done; wait; wc -l < log; sort -u log | wc -l
seq 200 | xargs -P 8 -I{} sh -c 'echo {} > f{}; cat f{} >> all; mv f{} g{}'; ls | wc -l; sort -n all | md5sum
seq 200 | xargs -P 8 -I{} rm g{}; ls
seq 100 | xargs -P 8 -I{} mkdir -p a/b{}/c; find a -type d | wc -l; rm -r a
seq 50 | xargs -P 8 -I{} sh -c 'mkdir one 2>/dev/null && echo {} >> won'; wc -l < won
for i in $(seq 8); do (for n in $(seq 30); do flock lock sh -c 'n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count'; done) & done; wait; cat count
seq 40 | xargs -P 8 -I{} sh -c 'echo {} > t{}; mv -f t{} same'; ls; wc -l < same
"""),
]

# What may differ: where the directory is, device and inode numbers, hints of
# git for newcomers.
NOISE = [
    (re.compile(rb"/\S*/(tmp|mnt)/scene"), b"HERE"),
    (re.compile(rb"^hint:.*\n", re.M), b""),
]

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "TERM": "dumb",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "init.defaultBranch",
    "GIT_CONFIG_VALUE_0": "master",
    "GIT_CONFIG_KEY_1": "safe.directory",
    "GIT_CONFIG_VALUE_1": "*",
    "PYTHONDONTWRITEBYTECODE": "1",
}

# Whose content is time or chance: of files with such names only that they are
# there counts.
VARIES = re.compile(
    r"\.git/(index|config|logs/|ORIG_HEAD|FETCH_HEAD|.*pack|objects/info|worktrees)"
    r"|\.un~$|\.tgz$|\.tar$|\.zip$|\.cpio$|\.gz$|^snar$|^same$|^won$|^log$|^all$"
    r"|^db|^copy$|\.o$|^prog$|^r\d?$|^x?x?sums$|^dumb"
)


def entry(path, name):
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    if stat.S_ISLNK(kind):
        return (name, "link", os.readlink(path))
    if stat.S_ISDIR(kind):
        return (name, "directory", oct(stat.S_IMODE(info.st_mode)))
    told = [name, oct(kind), oct(stat.S_IMODE(info.st_mode)), info.st_nlink]
    if info.st_mtime < OLD:
        told.append(info.st_mtime_ns // 1000000)
    if not VARIES.search(name):
        content = harness.read_file(path) if os.access(path, os.R_OK) else b""
        told += [info.st_size, hashlib.md5(content).hexdigest()]
    return tuple(told)


def tree(top):
    """Whatever a program can see below, in order."""
    found = []
    for folder, directories, files in os.walk(os.fsencode(top)):
        for name in directories + files:
            path = os.path.join(folder, name)
            shown = os.path.relpath(path, os.fsencode(top))
            found.append(entry(path, os.fsdecode(shown)))
    return sorted(found)


def step(line, directory, home):
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=directory,
        env=dict(ENVIRONMENT, HOME=home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=STEP_SECONDS,
    )
    outputs = []
    for text in (done.stdout, done.stderr):
        for pattern, instead in NOISE:
            text = pattern.sub(instead, text)
        outputs.append(text.decode("utf-8", "backslashreplace"))
    return {"status": done.returncode, "out": outputs[0], "err": outputs[1]}


class ToolsTest(harness.StoreTest):
    maxDiff = None

    def setUp(self):
        super().setUp()
        self.mounted = self.server(mount=True)
        tmpfs = self.path("tmp")
        os.mkdir(tmpfs)
        harness.run("mount", "-t", "tmpfs", "none", tmpfs)
        self.addCleanup(harness.run, "umount", "-l", tmpfs)
        self.scene = os.path.join(self.mounted.mount, "scene")
        self.tmpfs = os.path.join(tmpfs, "scene")
        os.mkdir(self.scene)
        os.mkdir(self.tmpfs)

    def play(self, lines):
        home = self.path("home")
        os.mkdir(home)
        for line in lines.strip().split("\n"):
            there = step(line, self.tmpfs, home)
            here = step(line, self.scene, home)
            with self.subTest(line):
                self.assertEqual(here, there)
                self.assertEqual(tree(self.scene), tree(self.tmpfs))


def scene_test(tools, lines):
    def test(self):
        harness.need_programs(self, *tools.split())
        self.play(lines)

    return test


@harness.needs_fuse
@harness.needs_root
class Scenes(ToolsTest):
    pass


for title, tools, lines in SCENES:
    setattr(Scenes, "test_" + title.replace(" ", "_"), scene_test(tools, lines))


@harness.needs_fuse
class Others(harness.StoreTest):
    """Tools that tmpfs has no like of, or that the mount refuses."""

    def setUp(self):
        super().setUp()
        self.mounted = self.server(mount=True)
        self.mnt = self.mounted.mount

    def say(self, line, status=0):
        done = step(line, self.mnt, self.dir)
        self.assertEqual(done["status"], status, done)
        return done["out"] + done["err"]

    def watch(self, *command):
        """Started in the mount; its output comes by a pipe."""
        process = subprocess.Popen(
            command,
            cwd=self.mnt,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        return process

    def test_what_is_refused_is_refused_at_once(self):
        self.say("echo 1 > f; mkdir d")
        for line, why in [
            ("ln f g", "Operation not permitted"),
            ("mkfifo p", "Operation not permitted"),
            ("mknod n c 1 3", "Operation not permitted"),
            ("python3 -c 'import socket as s; s.socket(s.AF_UNIX).bind(\"x\")'", "ermi"),
            ("touch %", "Invalid argument"),
            ("mv d d/inside", "subdirectory of itself"),
        ]:
            said = step(line, self.mnt, self.dir)
            self.assertNotEqual(said["status"], 0, line)
            self.assertIn(why, said["err"], line)
        self.assertEqual(self.say("ls"), "d\nf\n")

    def test_git_clones_without_hard_links(self):
        self.say("git init -q a && cd a && echo 1 > f && git add f && git commit -qm x")
        self.say("git clone -q a b && cmp a/f b/f && cd b && git fsck --strict")

    def test_tail_follows_what_resp_appends(self):
        with self.mounted.client() as client:
            client.set("log", "first\n")
            tail = self.watch("tail", "-n", "+1", "-s", "0.05", "-f", "log")
            self.assertEqual(tail.stdout.readline(), "first\n")
            for number in range(20):
                client.append("log", "line %d\n" % number)
                self.assertEqual(tail.stdout.readline(), "line %d\n" % number)
            self.say("echo from here >> log")
            self.assertEqual(tail.stdout.readline(), "from here\n")

    def test_inotify_tells_of_changes_through_the_mount(self):
        harness.need_programs(self, "inotifywait")
        self.say("mkdir d; echo 1 > d/old")
        watch = self.watch("inotifywait", "-m", "--format", "%e %f", "d")
        while "established" not in watch.stderr.readline():
            pass
        self.say("echo 2 > d/new; mv d/new d/moved; chmod 600 d/moved; rm d/moved d/old")
        told = []
        while not told or told[-1] != "DELETE old":
            told.append(watch.stdout.readline().strip())
        for event in (
            "CREATE new",
            "MODIFY new",
            "CLOSE_WRITE,CLOSE new",
            "MOVED_FROM new",
            "MOVED_TO moved",
            "ATTRIB moved",
            "DELETE moved",
        ):
            self.assertIn(event, told)


if __name__ == "__main__":
    unittest.main(verbosity=2)
